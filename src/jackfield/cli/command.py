"""What a command is: the table of commands is made of these, and so are help and completion.

Plain classes, because every call of the command line pays for what is imported here.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from jackfield.client import Client

__all__ = ["Argument", "Command", "Context"]


class Argument:
    """One argument: ``flags`` are its option strings, or its name if it is positional.

    ``completes`` says what a shell offers for its value: ``network``, ``port``, ``netns``,
    ``file`` or nothing.  ``settings`` go to ``argparse.ArgumentParser.add_argument``.
    """

    __slots__ = ("completes", "flags", "help", "settings")

    def __init__(self, *flags: str, help: str, completes: str = "", **settings: Any) -> None:
        """Keep what is given."""
        self.flags = flags
        self.help = help
        self.completes = completes
        self.settings = settings

    @property
    def is_option(self) -> bool:
        """Whether it begins with a dash."""
        return self.flags[0].startswith("-")

    @property
    def takes_value(self) -> bool:
        """Whether a value follows the option."""
        return "action" not in self.settings


class Command:
    """One command; ``function`` names its module below ``jackfield.cli`` and what to call.

    ``exclusive`` are options of which at most one may be given.
    """

    __slots__ = ("arguments", "exclusive", "function", "name", "summary")

    def __init__(
        self,
        name: str,
        function: str,
        summary: str,
        *arguments: Argument,
        exclusive: tuple[Argument, ...] = (),
    ) -> None:
        """Keep what is given."""
        self.name = name
        self.function = function
        self.summary = summary
        self.arguments = arguments
        self.exclusive = exclusive

    @property
    def all_arguments(self) -> tuple[Argument, ...]:
        """Every argument, the exclusive ones last."""
        return self.arguments + self.exclusive

    def load(self) -> Callable[[Context, Any], int | None]:
        """Import what the command calls: it takes the context and the parsed arguments."""
        import importlib

        module, function = self.function.split(".")
        loaded: Callable[[Context, Any], int | None] = getattr(
            importlib.import_module(f"jackfield.cli.{module}"), function
        )
        return loaded


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
