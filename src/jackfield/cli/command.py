"""What a command is: the table of commands is made of these, and so are help and completion.

Plain classes, because every call of the command line pays for what is imported here.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from jackfield.client import Client

__all__ = ["Arguments", "Command", "Context", "Flag", "Option", "Word"]


class Word:
    """A positional argument; ``optional`` ones may be left out and are then ``default``.

    ``choices`` are the only words allowed, if there are any.  A ``rest`` is a list of all words
    that follow, at least one, and the last of a command.  ``many`` is a list of any number.
    ``completes`` says what a shell offers: ``network``, ``port``, ``netns``, ``file``,
    ``file-or-network`` or nothing.
    """

    __slots__ = (
        *("choices", "completes", "default", "help", "many", "metavar", "name", "optional", "rest"),
    )

    def __init__(
        self,
        name: str,
        metavar: str,
        help: str,
        *,
        optional: bool = False,
        default: str | None = None,
        choices: tuple[str, ...] = (),
        rest: bool = False,
        many: bool = False,
        completes: str = "",
    ) -> None:
        """Keep what is given."""
        self.name = name
        self.metavar = metavar
        self.help = help
        self.optional = optional
        self.default = default
        self.choices = choices
        self.rest = rest
        self.many = many
        self.completes = completes


class Option:
    """An option with a value; ``number`` ones take a natural number.

    ``choices`` are the only values allowed, if there are any.  ``many`` ones may be given several
    times, and are lists.  Without a ``needed`` one the command is refused.
    """

    __slots__ = ("choices", "completes", "flag", "help", "many", "metavar", "needed", "number")

    def __init__(
        self,
        flag: str,
        metavar: str,
        help: str,
        *,
        number: bool = False,
        many: bool = False,
        needed: bool = False,
        choices: tuple[str, ...] = (),
        completes: str = "",
    ) -> None:
        """Keep what is given."""
        self.choices = choices
        self.flag = flag
        self.metavar = metavar
        self.help = help
        self.number = number
        self.many = many
        self.needed = needed
        self.completes = completes


class Flag:
    """An option without a value; ``short`` is its one-letter form, if it has one."""

    __slots__ = ("flag", "help", "short")

    def __init__(self, flag: str, help: str, *, short: str = "") -> None:
        """Keep what is given."""
        self.flag = flag
        self.help = help
        self.short = short


class Command:
    """One command; ``function`` names its module below ``jackfield.cli`` and what to call.

    ``exclusive`` are options of which at most one may be given; with ``one_of`` one of them, or of
    the optional words, must be.
    """

    __slots__ = ("exclusive", "function", "name", "one_of", "options", "summary", "words")

    def __init__(
        self,
        name: str,
        function: str,
        summary: str,
        *arguments: Word | Option | Flag,
        exclusive: tuple[Option | Flag, ...] = (),
        one_of: bool = False,
    ) -> None:
        """Keep what is given."""
        self.name = name
        self.one_of = one_of
        self.function = function
        self.summary = summary
        self.words = tuple(item for item in arguments if isinstance(item, Word))
        self.options = tuple(item for item in arguments if not isinstance(item, Word)) + exclusive
        self.exclusive = exclusive

    def load(self) -> Callable[[Context, Arguments], int | None]:
        """Import what the command calls with context and arguments; it may return a status."""
        module_name, function = self.function.split(".")
        module = __import__(f"jackfield.cli.{module_name}", fromlist=[function])
        loaded: Callable[[Context, Arguments], int | None] = getattr(module, function)
        return loaded


class Arguments:
    """What was said, by name: ``no_follow`` for ``--no-follow``."""

    def __init__(self, values: dict[str, Any]) -> None:
        """Keep ``values``."""
        self._values = values

    def __getattr__(self, name: str) -> Any:
        """Return the value: a flag's is a bool, an absent option's is ``None``."""
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(name) from None


class Context:
    """What every command gets: the daemon's ``run_dir``, and whether to answer in JSON."""

    __slots__ = ("json", "run_dir")

    def __init__(self, *, run_dir: str, json: bool) -> None:
        """Keep what is given."""
        self.run_dir = run_dir
        self.json = json

    @property
    def client(self) -> Client:
        """A client of the daemon."""
        from jackfield.client import Client

        return Client(self.run_dir)
