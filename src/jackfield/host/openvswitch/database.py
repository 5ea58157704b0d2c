"""Transactions of the database Open_vSwitch (RFC 7047, section 5.2; ovs-vswitchd.conf.db(5)).

Every use opens a connection of its own: that costs some 40 microseconds, and nothing has to be
known of a server that was restarted meanwhile.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from jackfield.errors import HostError, MissingFeature, WrongState
from jackfield.host.openvswitch.jsonrpc import Connection
from jackfield.host.openvswitch.values import Row

__all__ = ["DEFAULT_SOCKETS", "Database", "Refused", "Session", "find_socket"]

log = logging.getLogger(__name__)

DEFAULT_SOCKETS = (Path("/run/openvswitch/db.sock"), Path("/var/run/openvswitch/db.sock"))
"""Where packages put the database's socket."""

_NAME = "Open_vSwitch"
_ANSWER_LIMIT = 5.0
_CONFIGURED_LIMIT = 5.0

Operation = dict[str, Any]
Where = Sequence[Sequence[Any]]


class Refused(HostError):
    """The database refused a transaction; ``word`` is its name for that (``timed out``)."""

    word: str = ""


def find_socket(configured: Path | None) -> Path:
    """Return the database's socket: the ``configured`` one, else the usual one that is there."""
    if configured is not None:
        return configured
    return next((path for path in DEFAULT_SOCKETS if path.exists()), DEFAULT_SOCKETS[0])


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far ovs-vswitchd is: it has done ``done`` of the changes up to ``wanted``."""

    wanted: int
    done: int


class Session:
    """The database, while something is asked or changed."""

    def __init__(self, path: Path) -> None:
        """Connect; ``MissingFeature`` when Open vSwitch does not run."""
        self._connection = Connection(path, timeout=_ANSWER_LIMIT)

    def __enter__(self) -> Self:
        """Return the session."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._connection.__exit__(None, None, None)

    def transact(self, operations: Sequence[Operation], what: str) -> list[dict[str, Any]]:
        """Return the results of ``operations``, done together or not at all.

        Raises ``Refused``, which says what (``what``: "make v0 a port of br0") was refused.
        """
        return self._transact(operations, what, _ANSWER_LIMIT)

    def change(self, operations: Sequence[Operation], what: str) -> Progress:
        """Do ``operations`` and note that there is something to configure."""
        results = self.transact(
            [
                *operations,
                {
                    "op": "mutate",
                    "table": _NAME,
                    "where": [],
                    "mutations": [["next_cfg", "+=", 1]],
                },
                {
                    "op": "select",
                    "table": _NAME,
                    "where": [],
                    "columns": ["next_cfg", "cur_cfg"],
                },
            ],
            what,
        )
        return _progress(results[-1])

    def finish(self, operations: Sequence[Operation], what: str) -> None:
        """Do ``operations``, which remove things, and return when ovs-vswitchd has removed them.

        One that does not in its time is told of in the log: the rows are gone all the same.
        """
        progress = self.change(operations, what)
        try:
            self.wait_configured(progress, what)
        except WrongState as error:
            log.warning("%s", error)

    def select(
        self, table: str, columns: Collection[str], where: Where = (), *, what: str = ""
    ) -> list[Row]:
        """Return the rows of ``table`` for which ``where`` holds."""
        return self.select_many([(table, columns, where)], what or f"list {table}")[0]

    def select_many(
        self, questions: Iterable[tuple[str, Collection[str], Where]], what: str
    ) -> list[list[Row]]:
        """Return the rows for several questions (table, columns, condition), asked together."""
        results = self.transact(
            [
                {
                    "op": "select",
                    "table": table,
                    "where": [list(item) for item in where],
                    "columns": list(columns),
                }
                for table, columns, where in questions
            ],
            what,
        )
        return [result["rows"] for result in results]

    def progress(self) -> Progress:
        """Return how far ovs-vswitchd is with what it was told by anybody."""
        rows = self.select(_NAME, ("next_cfg", "cur_cfg"))
        return _progress({"rows": rows})

    def wait_configured(self, progress: Progress, what: str) -> None:
        """Return when ovs-vswitchd has done what ``progress`` wants; ``WrongState`` if it does not.

        The database itself waits and answers at the change: nothing is asked again and again.
        """
        while progress.done < progress.wanted:
            waited: Operation = {
                "op": "wait",
                "timeout": int(_CONFIGURED_LIMIT * 1000),
                "table": _NAME,
                "where": [],
                "columns": ["cur_cfg"],
                "until": "!=",
                "rows": [{"cur_cfg": progress.done}],
            }
            asked: Operation = {
                "op": "select",
                "table": _NAME,
                "where": [],
                "columns": ["cur_cfg"],
            }
            try:
                results = self._transact([waited, asked], what, _CONFIGURED_LIMIT + _ANSWER_LIMIT)
            except Refused as refused:
                if refused.word != "timed out":
                    raise
                raise WrongState(
                    f"cannot {what}: ovs-vswitchd has not done it in {_CONFIGURED_LIMIT:g} s",
                    hint="look whether ovs-vswitchd runs; without it the database alone changes",
                ) from refused
            rows = results[1]["rows"]
            if not rows:
                return
            progress = Progress(progress.wanted, int(rows[0]["cur_cfg"]))

    def _transact(
        self, operations: Sequence[Operation], what: str, timeout: float
    ) -> list[dict[str, Any]]:
        results = self._connection.call("transact", [_NAME, *operations], timeout=timeout)
        for result in results:
            if result and "error" in result:
                details = result.get("details", "")
                error = Refused(
                    f"cannot {what}: Open vSwitch's database says: {result['error']}"
                    + (f": {details}" if details else "")
                )
                error.word = result["error"]
                raise error
        return list(results)


class Database:
    """Where the database is, and whose rows are ours.

    ``swept`` is whether rows of ours that are nobody's have been looked for since we began,
    ``was_away`` whether it did not answer once, or is another server now: what we had there may
    not be there, and what was to go may.
    """

    def __init__(self, path: Path | None = None, *, state: str = "") -> None:
        """Use the socket ``path`` or the usual one; ``state`` marks the rows of one daemon."""
        self._path = path
        self.state = state
        self.swept = False
        self.was_away = False
        self._server: tuple[int, int] | None = None

    @property
    def path(self) -> Path:
        """The socket."""
        return find_socket(self._path)

    @property
    def runs(self) -> bool:
        """Whether there is a socket; nobody may listen at it."""
        return self.path.exists()

    def session(self) -> Session:
        """Open a session; close it (``with``) when all is asked."""
        self.note_server()
        try:
            return Session(self.path)
        except MissingFeature:
            self.was_away = True
            raise

    def note_server(self) -> None:
        """Take note of who listens: each server binds a socket of its own."""
        try:
            status = self.path.stat()
        except OSError:
            return
        server = status.st_ino, status.st_ctime_ns
        self.was_away = self.was_away or self._server not in (None, server)
        self._server = server


def _progress(result: dict[str, Any]) -> Progress:
    rows = result["rows"]
    if not rows:
        raise WrongState(
            "the database of Open vSwitch is empty: it has no row Open_vSwitch",
            hint="start ovs-vswitchd, or make the row: ovs-vsctl --no-wait init",
        )
    return Progress(int(rows[0]["next_cfg"]), int(rows[0]["cur_cfg"]))
