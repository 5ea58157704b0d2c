"""The journal of ports that have no device of ours: a line for each change, folded in later.

::

    STATE_DIR/ports.journal           lines since the last folding, the newest last
    STATE_DIR/ports.journal.folding   lines that are just being folded into the database

A port that a client realises is a record and nothing else, so making the record durable is most
of what creating it costs.  A line is one ``write`` of 3 microseconds where a transaction of the
database takes 30, and promises the same: what has been written is there when the daemon is
killed, and a reboot ends the ports themselves (``docs/decisions/0004-ports-without-fsync.md``).

Folding replays whole lines, so doing it twice does no harm, and a daemon that dies meanwhile
begins again at its next start.  Of a line that was being written nobody was told, so one without
its end counts for nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

import msgspec

from jackfield.engine.store.rows import EventRow, PortRow, Step
from jackfield.engine.store.tables import Store
from jackfield.errors import HostError

__all__ = ["GONE", "PortEntry", "PortJournal"]

log = logging.getLogger(__name__)

GONE = msgspec.Raw(b"null")
"""The document of a port that is no more."""

_NAME = "ports.journal"


class PortEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one port and the event that tells of it.

    ``document`` is the port's JSON from now on, ``GONE`` when it is no more; ``number``, ``time``,
    ``type``, ``name`` (the network's) and ``detail`` are the event's.
    """

    port: UUID
    network: UUID
    realiser: str
    document: msgspec.Raw
    number: int
    time: float
    type: str
    name: str
    detail: Mapping[str, str]


class PortJournal:
    """Lines are appended on the event loop, and folded into the database on the kernel thread."""

    def __init__(self, directory: Path) -> None:
        """Keep the journal in ``directory``; nothing is opened before ``open``."""
        self._path = directory / _NAME
        self._folding = directory / f"{_NAME}.folding"
        self._lock = threading.Lock()
        # It knows no subclass of ``str``.
        self._encode = msgspec.json.Encoder(enc_hook=str).encode
        self._file = -1
        self._size = 0
        self.lines = 0
        """How many lines wait to be folded in."""

    def open(self) -> None:
        """Begin an empty journal; what was in the last one has been folded in."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            self._file = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise HostError(f"cannot open {self._path}: {error.strerror}") from error
        self._size = self.lines = 0

    def close(self) -> None:
        """Append no more."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def append(self, entry: PortEntry) -> None:
        """Write a line; when this returns it outlives the daemon.

        Raises ``HostError``, and then nothing is written.
        """
        line = self._encode(entry) + b"\n"
        with self._lock:
            try:
                written = os.write(self._file, line)
            except OSError as error:
                raise self._unwritten(str(error.strerror)) from error
            if written != len(line):
                # The rest of a line must not become the beginning of the next one.
                os.ftruncate(self._file, self._size)
                raise self._unwritten("no space left")
            self._size += written
            self.lines += 1

    def _unwritten(self, reason: str) -> HostError:
        return HostError(f"cannot write {self._path}: {reason}", hint="df shows what is full")

    def fold(self, store: Store) -> None:
        """Bring all lines into the database and forget them.

        What is appended meanwhile waits for the next time.
        """
        self._fold_file(store, self._folding)
        with self._lock:
            if self._file >= 0 and not self._size:
                return
            with contextlib.suppress(FileNotFoundError):
                self._path.rename(self._folding)
            if self._file >= 0:
                self._go_on()
        self._fold_file(store, self._folding)

    def _go_on(self) -> None:
        """Append to a new file from now on, or to the old one where there can be no new one."""
        former = self._file
        try:
            self.open()
        except HostError:
            self._folding.rename(self._path)
            raise
        os.close(former)

    def _fold_file(self, store: Store, path: Path) -> None:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return
        entries = [entry for line in _lines(data) if (entry := _decode(line)) is not None]
        last = {entry.port: entry for entry in entries}
        with store.transaction():
            store.put_ports([_row(entry) for entry in last.values() if entry.document != GONE])
            store.delete_ports([port for port, entry in last.items() if entry.document == GONE])
            store.add_events(
                [
                    EventRow(
                        entry.number,
                        entry.time,
                        entry.type,
                        entry.name,
                        entry.network,
                        entry.detail,
                    )
                    for entry in entries
                ]
            )
        path.unlink()


def _lines(data: bytes) -> list[bytes]:
    """Return the whole lines."""
    return data.split(b"\n")[:-1]


def _decode(line: bytes) -> PortEntry | None:
    try:
        return msgspec.json.decode(line, type=PortEntry)
    except (msgspec.DecodeError, UnicodeError) as error:
        # Only a machine that lost its power leaves such a line, and its ports with it.
        log.warning("a line of the journal of ports cannot be read: %s", error)
        return None


def _row(entry: PortEntry) -> PortRow:
    document = bytes(entry.document)
    return PortRow(entry.port, entry.network, Step.SETTLED, entry.realiser, document, None)
