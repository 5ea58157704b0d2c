"""Commands that move networks from libvirt to here, and back."""

from __future__ import annotations

from jackfield.cli.output import print_json, say
from jackfield.errors import WrongState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jackfield.cli.command import Arguments, Context

__all__ = ["export_networks", "import_networks"]


def import_networks(context: Context, arguments: Arguments) -> None:
    """Take over libvirt's networks."""
    _migrate(context, arguments, "import", "Nothing of libvirt's is to be taken over.")


def export_networks(context: Context, arguments: Arguments) -> None:
    """Give networks to libvirt."""
    more = {"as_bridge": "1"} if arguments.as_bridge else {}
    _migrate(context, arguments, "export", "libvirt has everything already.", **more)


def _migrate(context: Context, arguments: Arguments, what: str, nothing: str, **more: str) -> None:
    """Ask the daemon, and print a line for each thing done; a refusal is an error at the end."""
    query = {"dry_run": "1"} if arguments.dry_run else {}
    query |= more
    if arguments.network:
        query["network"] = arguments.network
    answer = context.client.request("POST", f"/v1/{what}", query=query)
    steps = answer["steps"]
    if context.json:
        print_json(answer)
    elif not steps:
        say(nothing)
    else:
        for step in steps:
            sign = "!" if step["refused"] else "*" if step["done"] else "+"
            say(f"{sign} {step['network']}: {step['text']}")
    left = sorted({step["network"] for step in steps if step["refused"]})
    if left:
        raise WrongState(
            f"left as they are: {', '.join(left)}",
            hint=None if context.json else "the lines with ! say why",
        )
