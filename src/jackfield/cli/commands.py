"""The table of commands; help, completion and ``docs/cli.md`` are made from it."""

from __future__ import annotations

from jackfield.cli.command import Command, Flag, Option, Word

__all__ = ["COMMANDS", "COMMON", "find"]

_NETWORK = Word("network", "NETWORK", "name or uuid", completes="network")
_ONE_OR_ALL = Word("network", "NETWORK", "only of this network", optional=True, completes="network")
_FILE = Word("file", "FILE", "document, XML or JSON; - is standard input", completes="file")
_FILE_OR_NETWORK = Word(
    "source",
    "FILE|NETWORK",
    "a file (with a slash or .xml or .json at its end; - is standard input), or else a network",
    completes="file-or-network",
)
_VALIDATE = Flag("--validate", "hold the document against the schema first, as `check` does")

_LIBVIRT_NETWORK = Word(
    "network", "NETWORK", "name or uuid; default: all of them", optional=True, completes="network"
)

COMMON = (
    Option(
        "--run-dir",
        "DIR",
        "the daemon's run directory (or JACKFIELD_RUN_DIR; default: /run/jackfield)",
        completes="file",
    ),
    Flag("--json", "answer, and report errors, as JSON"),
)
"""What may stand before or after the command."""

COMMANDS = (
    Command(
        "define",
        "networks.define",
        "store a network's definition; does not start it",
        _FILE,
        _VALIDATE,
    ),
    Command(
        "apply",
        "networks.apply",
        "have a network run as a document says, and store that; or run as it is stored",
        _FILE_OR_NETWORK,
        Flag("--transient", "store nothing: it is gone when stopped"),
        Flag("--live", "only mend what runs: what is stored is left for later"),
        _VALIDATE,
    ),
    Command("undefine", "networks.undefine", "forget a network's definition", _NETWORK),
    Command("start", "networks.start", "start a network", _NETWORK),
    Command(
        "stop",
        "networks.stop",
        "stop a network; what is plugged in works again once it is started",
        _NETWORK,
    ),
    Command(
        "autostart",
        "networks.autostart",
        "have a network started with the host: when the daemon first starts after a boot",
        _NETWORK,
        Flag("--disable", "do not, from now on"),
    ),
    Command(
        "list",
        "networks.list_networks",
        "list the networks",
        exclusive=(
            Flag("--all", "all of them, which is the default"),
            Flag("--active", "only those that run"),
            Flag("--inactive", "only those that do not run"),
        ),
    ),
    Command(
        "show",
        "networks.show",
        "print a network's document",
        _NETWORK,
        Flag("--inactive", "the stored one, not what runs"),
        Flag("--layered", "in the layered dialect, not libvirt's"),
    ),
    Command(
        "edit",
        "edit.edit",
        "edit a network's definition with $VISUAL or $EDITOR; what runs is not changed",
        _NETWORK,
        Flag("--layered", "in the layered dialect, not libvirt's"),
    ),
    Command(
        "plan",
        "documents.plan",
        "print what a document would make (no daemon needed), or what a network lacks",
        _FILE_OR_NETWORK,
        Flag(
            "--verbose",
            "for a file: also the dnsmasq configuration and the firewall rules",
            short="-v",
        ),
    ),
    Command("ports", "ports.list_ports", "list what is plugged in", _ONE_OR_ALL),
    Command("leases", "ports.list_leases", "list the DHCP leases", _ONE_OR_ALL),
    Command(
        "attach",
        "ports.attach",
        "plug a namespace, a tap or a program into a network",
        _NETWORK,
        Option("--ifname", "NAME", "with --netns, which needs it: the interface's name there"),
        Option("--owner", "USER", "with --tap: who may open it"),
        Option("--queues", "N", "with --tap: number of queues", number=True),
        Option("--mac", "MAC", "the guest's address; default: made up"),
        Option("--name", "NAME", "what the port is listed under; default: the namespace or tap"),
        Option("--guest", "UUID", "the guest's uuid, the same on every host; default: made up"),
        Option("--portgroup", "GROUP", "class of connection"),
        exclusive=(
            Option(
                "--netns",
                "NAME",
                "plug in a network namespace (of ip netns, or a path)",
                completes="netns",
            ),
            Option("--tap", "NAME", "make a persistent tap of this name"),
            Flag("--vde", "have a program plug itself into the network's VDE switch"),
        ),
        one_of=True,
    ),
    Command(
        "run",
        "run.run",
        "run a hypervisor with its NICs plugged in, which go when it ends",
        Word(
            "command",
            "COMMAND",
            "QEMU is told of its NICs; for others {nic0.fd}, {nic0.fds}, {nic0.mac},"
            " {nic0.device}, {nic0.socket} and, of a PCI function, {nic0.address} stand for them",
            rest=True,
            completes="file",
        ),
        Option(
            "--nic",
            "network=NAME[,KEY=…]",
            "plug one in; keys: portgroup, mac, model, queues, and type=vde",
            many=True,
            needed=True,
        ),
        Option("--name", "NAME", "what the ports are listed under; default: the program"),
        Option("--guest", "UUID", "the guest's uuid, the same on every host; default: made up"),
    ),
    Command(
        "detach",
        "ports.detach",
        "unplug a port, or all that is on a network",
        Word("port", "PORT", "uuid, device or name of a port", optional=True, completes="port"),
        exclusive=(
            Option(
                "--network",
                "NETWORK",
                "all that Jackfield plugged into it, instead of one port",
                completes="network",
            ),
        ),
        one_of=True,
    ),
    Command(
        "events",
        "events.events",
        "print what happens, as it happens",
        Option(
            "--since",
            "N",
            "begin after event number N, with 0 at the oldest that is kept",
            number=True,
        ),
        Flag("--no-follow", "only what happened so far: the last hundred, or all after N"),
    ),
    Command(
        "doctor",
        "doctor.doctor",
        "say why guests have no network: which firewall rule drops their packets, and more",
        Word(
            "names",
            "NETWORK…",
            "names or uuids; default: all that run",
            many=True,
            completes="network",
        ),
    ),
    Command(
        "check",
        "documents.check",
        "say what is wrong with a document (no daemon needed)",
        Word(
            "file",
            "FILE",
            "document, XML or JSON; default: standard input",
            optional=True,
            default="-",
            completes="file",
        ),
    ),
    Command(
        "convert",
        "documents.convert",
        "print a document in another form (no daemon needed)",
        _FILE,
        Option(
            "--to",
            "FORM",
            "libvirt (the default), layered or json",
            choices=("libvirt", "layered", "json"),
        ),
    ),
    Command(
        "import",
        "migration.import_networks",
        "take over libvirt's networks, with the guests that run on them",
        _LIBVIRT_NETWORK,
        Flag("--dry-run", "change nothing, and say what would be done"),
    ),
    Command(
        "export",
        "migration.export_networks",
        "give definitions, autostart marks and leases back to libvirt",
        _LIBVIRT_NETWORK,
        Option(
            "--to",
            "WHERE",
            "libvirt: the default, and the only one so far",
            choices=("libvirt",),
        ),
        Flag(
            "--as-bridge",
            "instead have a libvirtd with networks of its own plug its guests into our bridges",
        ),
        Flag("--dry-run", "change nothing, and say what would be done"),
    ),
    Command(
        "completion",
        "completion.completion",
        "print the completion script for a shell",
        Word("shell", "SHELL", "bash, zsh or fish", choices=("bash", "zsh", "fish")),
    ),
)


def find(name: str) -> Command | None:
    """Return the command of this name."""
    for command in COMMANDS:
        if command.name == name:
            return command
    return None
