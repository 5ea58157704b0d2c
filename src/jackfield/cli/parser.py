"""Parse the words of a command line.

By hand, because ``argparse`` would take as long as all the rest of a call
(``docs/decisions/0003-command-line-without-a-library.md``).
"""

from __future__ import annotations

from jackfield.cli.command import Arguments, Command, Flag, Option
from jackfield.cli.commands import COMMON
from jackfield.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["parse", "split"]

_LARGEST = 18  # digits of a number


def split(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the command's name, and the words before and after it.

    The name is the first word that is neither a common option nor the value of one.
    """
    position = 0
    while position < len(words):
        word = words[position]
        if not word.startswith("-"):
            return word, [*words[:position], *words[position + 1 :]]
        with_value = any(isinstance(item, Option) and item.flag == word for item in COMMON)
        position += 2 if with_value else 1
    return None, list(words)


def parse(command: Command, words: Sequence[str]) -> Arguments:
    """Return what ``words`` say for ``command``, or raise ``UsageError``.

    Options and words may come in any order, values as ``--option value`` or
    ``--option=value``; after ``--`` there are no options.
    """
    options = (*command.options, *COMMON)
    by_flag: dict[str, Option | Flag] = {item.flag: item for item in options}
    by_flag.update({item.short: item for item in options if isinstance(item, Flag) and item.short})
    values: dict[str, Any] = {_attribute(item): _absent(item) for item in options}
    given: list[str] = []
    said: set[str] = set()
    rest = iter(words)
    for word in rest:
        if word == "--":
            given.extend(rest)
            break
        if word == "-" or not word.startswith("-"):
            given.append(word)
            continue
        flag, equals, value = word.partition("=")
        option = by_flag.get(flag)
        if option is None:
            raise _unknown(command, flag)
        said.add(option.flag)
        if isinstance(option, Flag):
            if equals:
                raise _wrong(command, f"{flag} takes no value")
            values[_attribute(option)] = True
            continue
        if not equals:
            following = next(rest, None)
            if following is None:
                raise _wrong(command, f"{flag} needs a value")
            value = following
        if not value:
            raise _wrong(command, f"{flag} is empty")
        if option.choices and value not in option.choices:
            raise _wrong(command, f"{flag} {value!r} is none of {', '.join(option.choices)}")
        if option.many:
            values[_attribute(option)].append(value)
        else:
            values[_attribute(option)] = _number(command, option, value) if option.number else value
    clashing = [item.flag for item in command.exclusive if item.flag in said]
    if len(clashing) > 1:
        raise _wrong(command, f"{clashing[0]} and {clashing[1]} exclude each other")
    values.update(_words(command, given))
    return Arguments(values)


def _absent(item: Option | Flag) -> Any:
    """Return the value of an option that is not given."""
    if isinstance(item, Flag):
        return False
    return [] if item.many else None


def _words(command: Command, given: list[str]) -> dict[str, Any]:
    """Return the positional arguments by name."""
    last = command.words[-1] if command.words else None
    if last is not None and last.rest:
        first = len(command.words) - 1
        if len(given) <= first:
            raise _wrong(command, f"{last.metavar} is missing")
        return {last.name: given[first:]}
    if last is not None and last.many:
        if "" in given:
            raise _wrong(command, f"{last.metavar} is empty")
        return {last.name: given}
    if len(given) > len(command.words):
        raise _wrong(command, f"{given[len(command.words)]!r} is one word too many")
    values: dict[str, Any] = {}
    for word, text in zip(command.words, given, strict=False):
        if not text:
            # A shell's variable without a value must not mean "all of them".
            raise _wrong(command, f"{word.metavar} is empty")
        if word.choices and text not in word.choices:
            raise _wrong(command, f"{text!r} is none of {', '.join(word.choices)}")
        values[word.name] = text
    for word in command.words[len(given) :]:
        if not word.optional:
            raise _wrong(command, f"{word.metavar} is missing")
        values[word.name] = word.default
    return values


def _number(command: Command, option: Option, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _LARGEST):
        raise _wrong(command, f"{option.flag} needs a number, not {text!r}")
    return int(text)


def _attribute(option: Option | Flag) -> str:
    return option.flag.removeprefix("--").replace("-", "_")


def _unknown(command: Command, flag: str) -> UsageError:
    error = _wrong(command, f"there is no option {flag}")
    if command.words and command.words[-1].rest:
        error.hint = f"the program and its own options stand after --; {error.hint}"
    return error


def _wrong(command: Command, message: str) -> UsageError:
    return UsageError(f"{command.name}: {message}", hint=f"see: jackfield {command.name} --help")
