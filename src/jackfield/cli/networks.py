"""Commands about networks."""

from __future__ import annotations

from jackfield.cli.output import print_json, print_table, print_text, say
from jackfield.cli.source import is_file, read_source
from jackfield.client import quote
from jackfield.errors import UsageError, WrongState, shell_word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jackfield.cli.command import Arguments, Context

__all__ = [
    "apply",
    "autostart",
    "define",
    "list_networks",
    "print_steps",
    "show",
    "start",
    "stop",
    "undefine",
]

_SIGNS = {"create": "+", "change": "~", "remove": "-", "keep": "="}


def define(context: Context, arguments: Arguments) -> None:
    """Store a definition."""
    document = read_source(arguments.file)
    query = {"validate": "1"} if arguments.validate else None
    network = context.client.request("POST", "/v1/networks", document, query=query)
    if context.json:
        print_json(network)
        return
    name = network["name"]
    if network["active"]:
        word = shell_word(name)
        say(f"Network {name} is defined; it runs as before, until: jackfield apply {word}")
    elif network["problem"]:
        say(f"Network {name} is defined, but cannot be started now: {network['problem']}")
    else:
        say(f"Network {name} is defined; start it with: jackfield start {shell_word(name)}")


def apply(context: Context, arguments: Arguments) -> None:
    """Make a network so."""
    if is_file(arguments.source):
        if arguments.live:
            raise UsageError("apply: --live goes with a network that runs, not with a document")
        query = {"apply": "1"}
        if arguments.transient:
            query["transient"] = "1"
        if arguments.validate:
            query["validate"] = "1"
        document = read_source(arguments.source)
        answer = context.client.request("POST", "/v1/networks", document, query=query)
    elif arguments.transient or arguments.validate:
        flag = "--transient" if arguments.transient else "--validate"
        raise UsageError(f"apply: {flag} goes with a document, not with a stored network")
    else:
        mending = {"live": "1"} if arguments.live else None
        path = f"/v1/networks/{quote(arguments.source)}/apply"
        answer = context.client.request("POST", path, query=mending)
    if context.json:
        print_json(answer)
        return
    print_steps(answer["steps"])
    name = answer["network"]["name"]
    if answer["network"]["problem"]:
        say(f"Network {name} runs{_where(answer['network'])}, but: {answer['network']['problem']}")
    elif arguments.live:
        done = "is mended" if answer["steps"] else "lacks nothing"
        say(f"Network {name} {done}; what is stored of it is as before.")
    elif answer["steps"]:
        say(f"Network {name} runs as it is defined{_where(answer['network'])}.")
    else:
        # It may have been started just now, or have another portgroup.
        say(f"Network {name} runs as it is defined; nothing of the host had to change.")


def undefine(context: Context, arguments: Arguments) -> None:
    """Forget a definition."""
    network = context.client.request("DELETE", f"/v1/networks/{quote(arguments.network)}")
    if context.json:
        print_json(network or {})
    elif network is None:
        say(f"Network {arguments.network} is undefined.")
    else:
        name = network["name"]
        say(
            f"Network {name} is undefined, but runs on as a transient one; end it with: "
            f"jackfield stop {shell_word(name)}"
        )


def start(context: Context, arguments: Arguments) -> None:
    """Start a network."""
    network = context.client.request("POST", f"/v1/networks/{quote(arguments.network)}/start")
    if context.json:
        print_json(network)
        return
    word = shell_word(network["name"])
    if network["problem"]:
        say(f"Network {network['name']} runs{_where(network)}, but: {network['problem']}")
        return
    say(
        f"Network {network['name']} runs{_where(network)}; plug something in with: "
        f"jackfield attach --netns NAME --ifname eth0 {word}"
    )


def stop(context: Context, arguments: Arguments) -> None:
    """Stop a network."""
    network = context.client.request("POST", f"/v1/networks/{quote(arguments.network)}/stop")
    if context.json:
        print_json(network)
        return
    after = ""
    if network["ports"]:
        word = shell_word(network["name"])
        after = f"; what is plugged in works again after: jackfield start {word}"
    say(f"Network {network['name']} is stopped{after}" + ("" if after else "."))


def autostart(context: Context, arguments: Arguments) -> None:
    """Say whether a network starts with the host."""
    wanted = not arguments.disable
    path = f"/v1/networks/{quote(arguments.network)}/autostart"
    network = context.client.request("PUT", path, {"autostart": wanted})
    if context.json:
        print_json(network)
    elif wanted:
        say(f"Network {network['name']} starts with the host from now on.")
    else:
        say(f"Network {network['name']} no longer starts with the host.")


def list_networks(context: Context, arguments: Arguments) -> None:
    """List the networks."""
    networks = context.client.request("GET", "/v1/networks")
    if arguments.active or arguments.inactive:
        networks = [item for item in networks if item["active"] is bool(arguments.active)]
    networks.sort(key=lambda item: item["name"])
    if context.json:
        print_json(networks)
        return
    print_table(
        ("NAME", "STATE", "AUTOSTART", "PERSISTENT", "MODE", "BRIDGE", "ADDRESSES", "PORTS"),
        [
            (
                item["name"],
                _state(item),
                item["autostart"],
                item["persistent"],
                item["mode"],
                item["bridge"],
                " ".join(item["addresses"]),
                item["ports"],
            )
            for item in networks
        ],
    )
    for item in networks:
        if item["problem"]:
            say(f"{item['name']}: {item['problem']}")


def show(context: Context, arguments: Arguments) -> None:
    """Print a network's document."""
    path = f"/v1/networks/{quote(arguments.network)}"
    if context.json:
        network = context.client.request("GET", path)
        if arguments.inactive and network["stored"] is None:
            raise WrongState(f"network {network['name']!r} is transient: nothing of it is stored")
        print_json(
            network["stored"] if arguments.inactive else network["live"] or network["stored"]
        )
        return
    query = {"dialect": "layered" if arguments.layered else "libvirt"}
    if arguments.inactive:
        query["inactive"] = "1"
    print_text(context.client.text("GET", f"{path}/xml", query=query))


def print_steps(steps: list[dict[str, str]]) -> None:
    """Print the steps of a plan, one a line: ``+`` made, ``~`` changed, ``-`` gone, ``=`` kept."""
    for step in steps:
        say(f"{_SIGNS.get(step['action'], '?')} {step['text']}")


def _state(network: dict[str, Any]) -> str:
    if not network["active"]:
        return "inactive"
    return "problem" if network["problem"] else "active"


def _where(network: dict[str, Any]) -> str:
    """Return on which bridge and addresses a network runs, for a sentence."""
    addresses = ", ".join(network["addresses"])
    if not network["bridge"]:
        return ""
    return f" on {network['bridge']}" + (f" ({addresses})" if addresses else "")
