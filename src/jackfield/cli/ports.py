"""Commands about what is plugged in, and what it leased."""

from __future__ import annotations

from jackfield.cli.output import print_json, print_table, say, when
from jackfield.client import quote
from jackfield.errors import UsageError, counted, shell_word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jackfield.cli.command import Arguments, Context

__all__ = ["attach", "detach", "list_leases", "list_ports"]


def list_ports(context: Context, arguments: Arguments) -> None:
    """List the ports of one network or of all."""
    ports = context.client.request("GET", _path(arguments.network, "ports"))
    if context.json:
        print_json(ports)
        return
    print_table(
        ("NETWORK", "DEVICE", "OWNER", "MAC", "GUEST END", "PORTGROUP", "PORT"),
        [
            (
                port["network"],
                port["device"],
                port.get("owner", {}).get("name"),
                port.get("mac"),
                _guest_end(port),
                port.get("group"),
                port["uuid"],
            )
            for port in ports
        ],
    )
    for port in ports:
        if port["problem"]:
            name = port.get("owner", {}).get("name") or port["device"] or port["uuid"]
            say(f"{name}: {port['problem']}")


def list_leases(context: Context, arguments: Arguments) -> None:
    """List the DHCP leases of one network or of all."""
    leases = context.client.request("GET", _path(arguments.network, "leases"))
    if context.json:
        print_json(leases)
        return
    print_table(
        ("NETWORK", "ADDRESS", "MAC", "HOSTNAME", "EXPIRES", "CLIENT ID"),
        [
            (
                lease["network"],
                f"{lease['address']}/{lease['prefix']}",
                lease["mac"],
                lease["hostname"],
                when(lease["expires"]) if lease["expires"] else "never",
                lease["client_id"],
            )
            for lease in leases
        ],
    )


def attach(context: Context, arguments: Arguments) -> None:
    """Plug a namespace, a tap or a program into a network."""
    if arguments.netns is None and arguments.tap is None and not arguments.vde:
        raise UsageError(
            "attach: say what to plug in",
            hint="--netns NAME --ifname eth0, --tap NAME, or --vde",
        )
    if arguments.netns is not None and arguments.ifname is None:
        raise UsageError("attach: --netns needs --ifname, the interface's name in there")
    if arguments.netns is None and arguments.ifname is not None:
        raise UsageError("attach: --ifname goes with --netns")
    for flag, value in (("--owner", arguments.owner), ("--queues", arguments.queues)):
        if arguments.tap is None and value is not None:
            raise UsageError(f"attach: {flag} goes with --tap")
    asked = {
        "netns": arguments.netns,
        "ifname": arguments.ifname,
        "tap": arguments.tap,
        "vde": arguments.vde or None,
        "owner": None if arguments.owner is None else _user(arguments.owner),
        "queues": arguments.queues,
        "mac": arguments.mac,
        "name": arguments.name,
        "guest": arguments.guest,
        "portgroup": arguments.portgroup,
    }
    body = {key: value for key, value in asked.items() if value is not None}
    port = context.client.request("POST", _path(arguments.network, "ports"), body)
    if context.json:
        print_json(port)
        return
    word = shell_word(port["device"] or port["uuid"])
    if arguments.vde:
        say(
            f"Plug into network {port['network']} with address {port['mac']} at "
            f"{port['plug']['path']}; free the port with: jackfield detach {word}"
        )
        return
    if arguments.tap is None:
        what = f"{arguments.ifname} in namespace {arguments.netns}"
    else:
        what = f"Tap {arguments.tap}"
    say(
        f"{what} is plugged into network {port['network']} with address {port.get('mac')}; "
        f"unplug it with: jackfield detach {word}"
    )


def detach(context: Context, arguments: Arguments) -> None:
    """Unplug one port, or all of a network."""
    if (arguments.port is None) is (arguments.network is None):
        raise UsageError("detach: say which PORT, or --network NETWORK for all of one")
    if arguments.network is not None:
        told = context.client.request("DELETE", _path(arguments.network, "ports"))
        if context.json:
            print_json(told)
        else:
            number = told["detached"]
            verb = "is" if number == 1 else "are"
            ports = counted(number, "port")
            say(f"{ports} of network {arguments.network} {verb} unplugged.")
        return
    context.client.request("DELETE", f"/v1/ports/{quote(arguments.port)}")
    if context.json:
        print_json({})
    else:
        say(f"Port {arguments.port} is unplugged.")


def _path(network: str | None, what: str) -> str:
    return f"/v1/{what}" if network is None else f"/v1/networks/{quote(network)}/{what}"


def _guest_end(port: dict[str, Any]) -> str | None:
    """Return where the guest is: the interface and the namespace, or what it plugs into."""
    if not port["netns"]:
        path: str | None = port.get("plug", {}).get("path")
        return path
    return f"{port['ifname']} in {port['netns'].removeprefix('/run/netns/')}"


def _user(name: str) -> int:
    """Return the number of user ``name``, which may be a number itself."""
    if name.isascii() and name.isdigit():
        return int(name)
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise UsageError(f"attach: there is no user {name!r}") from None
