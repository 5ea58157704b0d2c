"""Commands about documents; all but ``plan NAME`` work without daemon and without root."""

from __future__ import annotations

from jackfield.cli.networks import print_steps
from jackfield.cli.output import print_json, print_text, say
from jackfield.cli.source import is_file, read_source
from jackfield.client import quote
from jackfield.errors import Conflict, DaemonUnreachable, UsageError, counted, shell_word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jackfield.cli.command import Arguments, Context

__all__ = ["check", "convert", "plan"]


def plan(context: Context, arguments: Arguments) -> None:
    """Print what a document would make, or what a network of the daemon lacks."""
    if is_file(arguments.source):
        _plan_file(context, arguments)
    else:
        _plan_network(context, arguments)


def _plan_network(context: Context, arguments: Arguments) -> None:
    name = arguments.source
    if arguments.verbose:
        raise UsageError("plan: --verbose goes with a document, not with a network of the daemon")
    answer = context.client.request("POST", f"/v1/networks/{quote(name)}/plan")
    if context.json:
        print_json(answer)
    elif answer["steps"]:
        print_steps(answer["steps"])
        word = shell_word(name)
        say(f"{_count(answer['steps'])}; do it with: jackfield apply {word}")
    else:
        say(f"Nothing to do: network {name} is as it is defined.")


def _plan_file(context: Context, arguments: Arguments) -> None:
    from jackfield import offline

    planned = offline.plan(read_source(arguments.source))
    steps = [
        {"action": step.action, "kind": step.kind, "key": step.key, "text": step.text}
        for step in planned.steps
    ]
    if context.json:
        texts = {"dnsmasq": planned.dnsmasq, "rules": planned.rules} if arguments.verbose else {}
        print_json({"steps": steps, **texts})
        return
    print_steps(steps)
    if arguments.verbose:
        for title, text in (("dnsmasq", planned.dnsmasq), ("firewall", planned.rules)):
            if text:
                print(f"\n# {title}")
                print_text(text)
        print()
    if steps:
        file = shell_word(arguments.source)
        # The host has not been looked at.
        say(f"{_count(steps)} where none of it is there yet; do it with: jackfield apply {file}")
    else:
        say(f"Nothing to do: network {planned.name} needs nothing of this host.")


def check(context: Context, arguments: Arguments) -> None:
    """Say what a document is, and of a guest what it would get here; what is wrong is an error."""
    from jackfield import offline

    document = read_source(arguments.file)
    verdict = offline.check(document)
    if verdict.is_guest:
        try:
            _check_guest(context, document)
        except DaemonUnreachable:
            verdict.notes.append("no daemon answers, so what it would get here is not known")
        else:
            return
    if context.json:
        print_json({"text": verdict.text, "notes": verdict.notes})
        return
    source = "standard input" if arguments.file == "-" else arguments.file
    doubted = verdict.notes and not verdict.is_guest
    judged = "it is valid, but:" if doubted else "nothing is wrong with it."
    say(f"{source}: {verdict.text}: {judged}")
    for note in verdict.notes:
        say(f"  note: {note}")


def _check_guest(context: Context, document: bytes) -> None:
    """Print what each interface would get; ``Conflict`` when one would get nothing."""
    verdicts = context.client.request("POST", "/v1/check", document)
    if context.json:
        print_json(verdicts)
    else:
        for verdict in verdicts:
            for line in verdict["lines"]:
                say(line)
    refused = [verdict for verdict in verdicts if "error" in verdict]
    if refused:
        interfaces = counted(len(verdicts), "interface")
        raise Conflict(f"{len(refused)} of {interfaces} would get no port here")


def convert(context: Context, arguments: Arguments) -> None:
    """Print a document in another dialect; ``--json`` says ``--to json``."""
    from jackfield import offline

    form = arguments.to
    if context.json:
        if form not in {None, "json"}:
            raise UsageError(f"convert: --json and --to {form} exclude each other")
        form = "json"
    print_text(offline.convert(read_source(arguments.file), form or "libvirt"))


def _count(steps: list[dict[str, str]]) -> str:
    words = {"create": "to make", "change": "to change", "remove": "to remove", "keep": "to stay"}
    parts = []
    for action, text in words.items():
        number = sum(step["action"] == action for step in steps)
        if number:
            parts.append(f"{number} {text}")
    return ", ".join(parts)
