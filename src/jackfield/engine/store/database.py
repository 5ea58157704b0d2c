"""The database of the daemon: its transactions, and when they are on disk.

Definitions are on disk before anybody is told (``sync``, once for all transactions that ended
meanwhile).  Rows of running networks and of ports survive the daemon's death, not the machine's,
whose reboot ends what they describe (``synchronous=NORMAL``: the write-ahead log without
``fsync``).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jackfield.engine.store.schema import MIGRATIONS
from jackfield.errors import HostError

__all__ = ["Database"]

_ROOM = 1 << 18
"""Bytes that the disk must have free when a step begins, so that its end can be recorded."""
_AHEAD = 1 << 20
"""Bytes that are taken at once where there are so many: to take some takes a tenth of a start."""

_BLOCK = 512  # what stat(2) counts a file's blocks in
_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE, linux/falloc.h
_Offset = ctypes.c_int64
_libc = ctypes.CDLL(None, use_errno=True)
# Where there is no other, offsets have 64 bits.
_fallocate = getattr(_libc, "fallocate64", None) or _libc.fallocate

_OTHERS = 1.0
"""Seconds that another process which has the database open is waited for."""


class _Connection(sqlite3.Connection):
    """A connection whose failures are ours: a full disk is no defect of the daemon."""

    path: Path | None = None
    """Which file they name, once it is open."""

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """Do as the base class does, or raise ``HostError``."""
        try:
            return super().execute(*arguments)
        except sqlite3.Error as error:
            raise _told(error, self.path) from error

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        """Do as the base class does, or raise ``HostError``."""
        try:
            return super().executemany(*arguments)
        except sqlite3.Error as error:
            raise _told(error, self.path) from error

    def rows(self, *arguments: Any) -> list[Any]:
        """Return all that a query finds: that a file is damaged may show at any row."""
        try:
            return super().execute(*arguments).fetchall()
        except sqlite3.Error as error:
            raise _told(error, self.path) from error


class Database:
    """A database of ours; what goes wrong with it is a ``HostError``."""

    def __init__(self, path: Path) -> None:
        """Open or make the database at ``path`` and bring its schema up to date."""
        self._path = path
        self._log = -1
        self.unsynced = False
        """Whether a transaction has ended that must be on disk before it is told of."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(
                path,
                timeout=_OTHERS,
                isolation_level=None,
                check_same_thread=False,
                factory=_Connection,
            )
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise
        except sqlite3.Error as error:
            raise _told(error).with_context(str(path)) from error
        except OSError as error:
            raise HostError(f"cannot open the database {path}: {error.strerror}") from error
        except HostError as error:
            raise error.with_context(str(path)) from error

    def _prepare(self) -> None:
        self._path.chmod(0o600)
        # No other process is let in while it is open, which saves taking and giving back the
        # locks for each transaction.  Before the write-ahead log, so that its index is ours.
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._migrate()
        self._db.path = self._path

    def close(self) -> None:
        """Close the database."""
        self.sync()
        if self._log >= 0:
            os.close(self._log)
            self._log = -1
        self._db.close()

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = False, opens: bool = False) -> Iterator[None]:
        """Commit what the block does, all or nothing; ``durable``: to be on disk with ``sync``.

        With ``opens`` it begins a step, and is refused when its end might find no room.
        """
        if opens:
            self._check_room()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.commit()
        except BaseException:
            # When the disk is full, SQLite has done so itself.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self.unsynced |= durable

    def _check_room(self) -> None:
        disk = os.statvfs(self._path.parent)
        if disk.f_blocks and disk.f_bavail * disk.f_frsize < _ROOM:
            raise _full(f"less than {_ROOM >> 10} KiB are free where {self._path} is")
        self._take_room()

    def _take_room(self) -> None:
        """Have the log's file own that room: what others write meanwhile takes none of it.

        Beyond its end, where SQLite goes on writing; where it begins anew it needs no more.  A
        file system that cannot do this has had the room a moment ago.
        """
        log = self._log_file()
        found = os.fstat(log)
        if found.st_blocks * _BLOCK - found.st_size >= _ROOM:
            return
        for room in (_AHEAD, _ROOM):
            failed = _fallocate(log, _KEEP_SIZE, _Offset(found.st_size), _Offset(room))
            if not failed or ctypes.get_errno() != errno.ENOSPC:
                return
        raise _full(f"less than {_ROOM >> 10} KiB are free where {self._path} is")

    def sync(self) -> None:
        """Wait until the disk has every durable transaction that has ended.

        The same as ``synchronous=FULL`` does at the end of each (https://sqlite.org/wal.html), but
        once for all of those who wait.
        """
        if not self.unsynced:
            return
        try:
            os.fdatasync(self._log_file())
        except OSError as error:
            raise HostError(
                f"cannot write the database {self._path} to the disk: {error.strerror}",
                hint="dmesg shows what is wrong with the disk",
            ) from error
        self.unsynced = False

    def _log_file(self) -> int:
        """Return the write-ahead log, open."""
        if self._log < 0:
            # It stays the same file for as long as the database is open.
            self._log = os.open(f"{self._path}-wal", os.O_RDWR | os.O_CLOEXEC)
        return self._log

    def commit(self) -> None:
        """End the open transaction."""
        self._db.execute("COMMIT")

    def _migrate(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise HostError(
                f"the database has schema {version}, newer than this daemon's {len(MIGRATIONS)}",
                hint="install the newer version again, or put a copy from before it in its place",
            )
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            self._db.executescript(f"BEGIN; {script} PRAGMA user_version={number}; COMMIT;")


def _told(error: sqlite3.Error, path: Path | None = None) -> HostError:
    """Return the error that says what is wrong with the database at ``path``."""
    told = _explained(error)
    return told if path is None else told.with_context(str(path))


def _explained(error: sqlite3.Error) -> HostError:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return _full("cannot write the database")
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
        return HostError(
            "another process has the database open",
            hint="only one daemon may use a state directory; `fuser` on the file shows who does",
        )
    return HostError(
        f"cannot use the database: {error}",
        hint="the daemon needs to read and write it; restore it from a backup if damaged",
    )


def _full(what: str) -> HostError:
    return HostError(f"{what}: the disk is full", hint="df shows what is full")
