"""Logs: one JSON object a line, on standard error."""

from __future__ import annotations

import datetime
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

import msgspec

__all__ = ["JsonFormatter", "configure", "log_together", "made_record"]

_BLANK = vars(logging.makeLogRecord({}))
_STANDARD = frozenset(_BLANK) | {"asctime", "color_message", "message"}


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: time (UTC, RFC 3339), level, logger, message, extra fields.

    A traceback is the field ``traceback``; a set is a list, and what JSON has no form for is text.
    """

    def __init__(self) -> None:
        """Begin without a second whose text is known."""
        super().__init__()
        self._second = -1
        self._text = ""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        fields: dict[str, object] = {
            "time": self._time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        values = vars(record)
        for key in sorted(values.keys() - _STANDARD):
            fields.setdefault(key, values[key])
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        return msgspec.json.encode(fields, enc_hook=str).decode("utf-8", "replace")

    def _time(self, created: float) -> str:
        """Return seconds since the epoch as text; most lines are of the same second as the last."""
        second = int(created)
        if second != self._second:
            time = datetime.datetime.fromtimestamp(second, datetime.UTC)
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S")
            self._second = second
        return f"{self._text}.{int((created - second) * 1000):03d}Z"


class _Lines(logging.StreamHandler[TextIO]):
    """A handler that writes the lines of several records at once."""

    def handle_all(self, records: Sequence[logging.LogRecord]) -> None:
        """Write ``records`` in their order; as with ``emit``, a stream that fails stops nobody."""
        lines = [self.format(record) for record in records if record.levelno >= self.level]
        if not lines:
            return
        self.acquire()
        try:
            self.stream.write(self.terminator.join(lines) + self.terminator)
            self.flush()
        except Exception:
            self.handleError(records[0])
        finally:
            self.release()


def made_record(
    logger: logging.Logger,
    level: int,
    message: str,
    fields: Mapping[str, object],
    *,
    created: float,
) -> logging.LogRecord:
    """Return a record of something that was at ``created`` (seconds since the epoch).

    The library's own way looks for the name of a source file that we do not have.
    """
    record = logging.LogRecord.__new__(logging.LogRecord)
    vars(record).update(
        _BLANK,
        name=logger.name,
        levelno=level,
        levelname=logging.getLevelName(level),
        msg=message,
        created=created,
        msecs=created % 1 * 1000,
        **fields,
    )
    return record


def log_together(logger: logging.Logger, records: Sequence[logging.LogRecord]) -> None:
    """Log records that ``logger`` is enabled for, by one write where the handler is ours.

    For many lines of one time: the library takes as long to find the handlers and to write for
    each line as the line itself takes.
    """
    at: logging.Logger | None = logger
    while at is not None:
        for handler in at.handlers:
            if isinstance(handler, _Lines):
                handler.handle_all(records)
                continue
            for record in records:
                if record.levelno >= handler.level:
                    handler.handle(record)
        at = at.parent if at.propagate else None


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send the records of ``level`` and above to ``stream`` (standard error), as JSON."""
    handler = _Lines(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    for old in tuple(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    # No line says where in the code or on which thread it was written, and to find out takes as
    # long as the rest (the library's own advice, "Optimization" in its howto).
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
