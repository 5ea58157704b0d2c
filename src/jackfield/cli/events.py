"""The command that prints what happens."""

from __future__ import annotations

from jackfield.cli.output import say, when

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jackfield.cli.command import Arguments, Context

__all__ = ["events"]


def events(context: Context, arguments: Arguments) -> None:
    """Print events, one a line, as they come; with ``--json`` one JSON object a line."""
    query = {} if arguments.no_follow else {"follow": "1"}
    if arguments.since is not None:
        query["since"] = str(arguments.since)
    for event in context.client.lines("/v1/events", query=query):
        if context.json:
            import json

            print(json.dumps(event, ensure_ascii=False), flush=True)
        else:
            detail = " ".join(f"{key}={value}" for key, value in event["detail"].items())
            line = (
                f"{event['number']:>6}  {when(event['time'])}  {event['type']:<17}  "
                f"{event['network']}  {detail}"
            )
            say(line.rstrip())
