"""Taking back what failed on the way, when that may fail as well."""

from __future__ import annotations

from typing import Self

from jackfield.errors import JackfieldError

__all__ = ["Undoing"]


class Undoing:
    """What goes on while something that failed with ``error`` is undone, as a ``with`` block.

    What fails in it is told with ``error``, after it, and not instead of it; ``left`` says what
    becomes of that.  ``failure`` is then what could not be undone, in words.
    """

    def __init__(self, error: BaseException, left: str | None = None) -> None:
        """Undo what led to ``error``."""
        self._error = error
        self._left = left
        self.failure: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, second: BaseException | None, _traceback: object) -> bool:
        failures = [item for item in _failures(second) if isinstance(item, JackfieldError)]
        if not failures:
            return False
        self.failure = "; ".join(dict.fromkeys(map(str, failures)))
        error, words = self._error, f"taking it back failed as well: {self.failure}"
        if not isinstance(error, JackfieldError):
            error.add_note(words)
            return True
        error.message = f"{error.message}; {words}"
        error.args = (error.message,)
        hints = [error.hint, *(item.hint for item in failures), self._left]
        error.hint = "; ".join(dict.fromkeys(filter(None, hints))) or None
        return True


def _failures(error: BaseException | None) -> list[BaseException | None]:
    """Return the errors of a group, or the one that it is."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for item in error.exceptions for leaf in _failures(item)]
    return [error]
