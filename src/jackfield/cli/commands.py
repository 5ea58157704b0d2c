"""The table of commands; help, completion and ``docs/cli.md`` are made from it."""

from __future__ import annotations

from jackfield.cli.command import Argument, Command

__all__ = ["COMMANDS", "COMMON", "find"]

_NAME = Argument("name", metavar="NAME", help="name or uuid of the network", completes="network")
_ONE_OR_ALL = Argument(
    "name", metavar="NAME", nargs="?", help="only of this network", completes="network"
)
_FILE = Argument(
    "file",
    metavar="FILE",
    help="document, XML or JSON; - is standard input",
    completes="file",
)

COMMON = (
    Argument(
        "--run-dir",
        metavar="DIR",
        help="the daemon's run directory (or JACKFIELD_RUN_DIR; default: /run/jackfield)",
        completes="file",
    ),
    Argument("--json", action="store_true", help="answer, and report errors, as JSON"),
)
"""What may stand before or after the command."""

COMMANDS = (
    Command("define", "networks.define", "store a network's definition; does not start it", _FILE),
    Command(
        "apply",
        "networks.apply",
        "make a network so: stored, and running as the document says",
        _FILE,
        Argument("--transient", action="store_true", help="store nothing: it is gone when stopped"),
    ),
    Command("undefine", "networks.undefine", "forget a network's definition", _NAME),
    Command("start", "networks.start", "start a network", _NAME),
    Command("stop", "networks.stop", "stop a network; what is plugged in comes back", _NAME),
    Command(
        "autostart",
        "networks.autostart",
        "start a network with the daemon",
        _NAME,
        Argument("--disable", action="store_true", help="do not, from now on"),
    ),
    Command(
        "list",
        "networks.list_networks",
        "list the networks",
        exclusive=(
            Argument("--all", action="store_true", help="all of them, which is the default"),
            Argument("--active", action="store_true", help="only those that run"),
            Argument("--inactive", action="store_true", help="only those that do not run"),
        ),
    ),
    Command(
        "show",
        "networks.show",
        "print a network's document",
        _NAME,
        Argument("--inactive", action="store_true", help="the stored one, not what runs"),
        Argument("--layered", action="store_true", help="in the layered dialect, not libvirt's"),
    ),
    Command(
        "plan",
        "documents.plan",
        "print what a document would make (no daemon needed), or what a network lacks",
        Argument(
            "source",
            metavar="FILE|NAME",
            help="a file (- is standard input), or else a network of the daemon",
            completes="network",
        ),
        Argument(
            "-v",
            "--verbose",
            action="store_true",
            help="for a file: also the dnsmasq configuration and the firewall rules",
        ),
    ),
    Command("ports", "ports.list_ports", "list what is plugged in", _ONE_OR_ALL),
    Command("leases", "ports.list_leases", "list the DHCP leases", _ONE_OR_ALL),
    Command(
        "attach",
        "ports.attach",
        "plug a namespace or a tap into a network",
        Argument("network", metavar="NETWORK", help="name or uuid", completes="network"),
        Argument("--ifname", metavar="NAME", help="with --netns: the interface's name in there"),
        Argument("--owner", metavar="USER", help="with --tap: who may open it"),
        Argument("--queues", metavar="N", type=int, help="with --tap: number of queues"),
        Argument("--mac", metavar="MAC", help="the guest's address; default: made up"),
        Argument("--name", metavar="NAME", help="name that the port is listed under"),
        Argument("--portgroup", metavar="GROUP", help="class of connection"),
        exclusive=(
            Argument(
                "--netns",
                metavar="NAME",
                help="plug in a network namespace (ip netns, or a path)",
                completes="netns",
            ),
            Argument("--tap", metavar="NAME", help="make a persistent tap of this name"),
        ),
    ),
    Command(
        "detach",
        "ports.detach",
        "unplug",
        Argument("port", metavar="PORT", help="uuid, device or name of a port", completes="port"),
    ),
    Command(
        "events",
        "events.events",
        "print what happens, as it happens",
        Argument("--since", metavar="N", type=int, help="begin after event number N"),
        Argument("--no-follow", action="store_true", help="only what happened so far"),
    ),
    Command(
        "check",
        "documents.check",
        "say what is wrong with a document (no daemon needed)",
        Argument(
            "file",
            metavar="FILE",
            nargs="?",
            default="-",
            help="document, XML or JSON; default: standard input",
            completes="file",
        ),
    ),
    Command(
        "completion",
        "completion.completion",
        "print the completion script for a shell",
        Argument("shell", choices=("bash", "zsh", "fish"), help="which shell"),
    ),
)


def find(name: str) -> Command | None:
    """Return the command of this name."""
    for command in COMMANDS:
        if command.name == name:
            return command
    return None
