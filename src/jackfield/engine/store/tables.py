"""The store: one SQLite database, and the only thing that outlives the daemon.

``STATE_DIR/jackfield.db``::

    networks     stored definitions and their autostart marks
    live         running networks, with what is being done to them (the journal)
    ports        ports, with what is being done to them
    members      other people's links that were ports of a stopped network's bridge
    settings     shared settings (sysctls, uplinks' attributes, …): the value before us and ours
    setting_users   which networks and ports need a shared setting
    records      what drivers found before us of what is not ours, by the resource's key
    events       the last events, numbered
    meta         boot, network namespace, and what tells this daemon from others

Plans are pure functions of documents, so the journal of a change is the documents themselves: a
row says what is wanted, what was there before (``previous``) and whether the step is open.  After
a crash the difference of their plans is what may be half done.

Rows that describe the live host (all but ``networks`` and ``events``) are valid for
one boot and one network namespace; they are dropped when either is another.

Used on the kernel thread alone.  What becomes of ports without a device of ours is in the journal
beside it (``ports.journal``) before it is here.
"""

from __future__ import annotations

import itertools
import json
import uuid as uuids
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from uuid import UUID

from jackfield.engine.store.database import Database
from jackfield.engine.store.rows import (
    EventRow,
    LiveRow,
    MemberRow,
    NetworkRow,
    PortRow,
    SettingRow,
    Step,
)

__all__ = ["EVENTS_KEPT", "EventNumbers", "Store"]

EVENTS_KEPT = 10_000

_OF_THIS_HOST = ("live", "ports", "members", "settings", "setting_users", "records")


class EventNumbers:
    """Numbers for events, each higher than all before it, for whichever thread asks."""

    def __init__(self, last: int) -> None:
        """Begin after ``last``."""
        self._count = itertools.count(last + 1)

    def take(self) -> int:
        """Return the next number; one that is not used after all leaves a gap."""
        return next(self._count)


class Store(Database):
    """The tables of the database."""

    def __init__(self, path: Path) -> None:
        """Open or make the database at ``path`` and bring its schema up to date."""
        super().__init__(path)
        self._numbers: EventNumbers | None = None

    # Boot and namespace

    def enter(self, boot: str, namespace: str) -> bool:
        """Drop what describes another boot or namespace; return whether there was such."""
        here = json.dumps([boot, namespace])
        row = self._db.execute("SELECT value FROM meta WHERE key='host'").fetchone()
        if row is not None and row[0] == here:
            return False
        with self.transaction(durable=True):
            for table in _OF_THIS_HOST:
                self._db.execute(f"DELETE FROM {table}")
            self._set_meta("host", here)
            self._db.execute("DELETE FROM meta WHERE key IN ('autostarted', 'waiting')")
        return row is not None

    def autostarted(self) -> frozenset[UUID] | None:
        """Return what autostart could not start on this boot; ``None`` if it has not run."""
        found = dict(
            self._db.execute("SELECT key, value FROM meta WHERE key IN ('autostarted', 'waiting')")
        )
        if "autostarted" not in found:
            return None
        return frozenset(map(UUID, json.loads(found.get("waiting", "[]"))))

    def set_autostarted(self, waiting: Iterable[UUID]) -> None:
        """Remember that autostart has run on this boot, but for those that are ``waiting``."""
        with self.transaction():
            self._set_meta("autostarted", "yes")
            self._set_meta("waiting", json.dumps(sorted(map(str, waiting))))

    def identity(self) -> str:
        """Return what tells this daemon from others that share a database with it."""
        row = self._db.execute("SELECT value FROM meta WHERE key='identity'").fetchone()
        if row is not None:
            return str(row[0])
        with self.transaction(durable=True):
            self._set_meta("identity", str(uuids.uuid4()))
        return self.identity()

    def _set_meta(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # Definitions

    def networks(self) -> list[NetworkRow]:
        """Return every stored definition."""
        return [
            NetworkRow(UUID(uuid), name, bool(autostart), document)
            for uuid, name, autostart, document in self._db.rows(
                "SELECT uuid, name, autostart, document FROM networks"
            )
        ]

    def put_network(self, row: NetworkRow) -> None:
        """Insert or replace a definition."""
        self._db.execute(
            "INSERT OR REPLACE INTO networks (uuid, name, autostart, document) VALUES (?, ?, ?, ?)",
            (str(row.uuid), row.name, row.autostart, row.document),
        )

    def delete_network(self, uuid: UUID) -> None:
        """Forget a definition."""
        self._db.execute("DELETE FROM networks WHERE uuid=?", (str(uuid),))

    # Running networks

    def live(self) -> list[LiveRow]:
        """Return every running network."""
        return [
            LiveRow(UUID(uuid), step, document, previous)
            for uuid, step, document, previous in self._db.rows(
                "SELECT uuid, step, document, previous FROM live"
            )
        ]

    def put_live(self, row: LiveRow) -> None:
        """Insert or replace the row of a running network."""
        self._db.execute(
            "INSERT OR REPLACE INTO live (uuid, step, document, previous) VALUES (?, ?, ?, ?)",
            (str(row.uuid), row.step, row.document, row.previous),
        )

    def set_live_step(self, uuid: UUID, step: str) -> None:
        """Say what is being done to a running network; settling forgets what was before."""
        clear = ", previous=NULL" if step == Step.SETTLED else ""
        self._db.execute(f"UPDATE live SET step=?{clear} WHERE uuid=?", (step, str(uuid)))

    def halt_live(self, uuid: UUID, reason: str) -> None:
        """Say that a network's stop has failed on the way, and why."""
        self._db.execute(
            "UPDATE live SET step=?, previous=? WHERE uuid=?",
            (Step.HALTED, reason.encode(), str(uuid)),
        )

    def delete_live(self, uuid: UUID) -> None:
        """Forget that a network runs."""
        self._db.execute("DELETE FROM live WHERE uuid=?", (str(uuid),))

    # Ports

    def ports(self) -> list[PortRow]:
        """Return every port."""
        return [
            PortRow(UUID(uuid), UUID(network), step, realiser, document, device, holder)
            for uuid, network, step, realiser, document, device, holder in self._db.rows(
                "SELECT uuid, network, step, realiser, document, device, holder FROM ports"
            )
        ]

    def put_port(self, row: PortRow) -> None:
        """Insert or replace a port."""
        self.put_ports([row])

    def put_ports(self, rows: Iterable[PortRow]) -> None:
        """Insert or replace several ports."""
        self._db.executemany(
            "INSERT OR REPLACE INTO ports"
            " (uuid, network, step, realiser, document, device, holder)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    str(row.uuid),
                    str(row.network),
                    row.step,
                    row.realiser,
                    row.document,
                    row.device,
                    row.holder,
                )
                for row in rows
            ],
        )

    def set_port_step(self, uuid: UUID, step: str) -> None:
        """Say what is being done to a port."""
        self._db.execute("UPDATE ports SET step=? WHERE uuid=?", (step, str(uuid)))

    def delete_port(self, uuid: UUID) -> None:
        """Forget a port."""
        self.delete_ports([uuid])

    def delete_ports(self, uuids: Iterable[UUID]) -> None:
        """Forget several ports."""
        self._db.executemany("DELETE FROM ports WHERE uuid=?", [(str(uuid),) for uuid in uuids])

    # Members of stopped networks' bridges

    def members(self, network: UUID) -> list[MemberRow]:
        """Return the links that were ports of the network's bridge when it was stopped."""
        return [
            MemberRow(network, name, link, json.loads(flags), bridge)
            for name, link, flags, bridge in self._db.rows(
                "SELECT name, link, flags, bridge FROM members WHERE network=?", (str(network),)
            )
        ]

    def put_members(self, rows: Iterable[MemberRow]) -> None:
        """Remember links that lose their bridge."""
        self._db.executemany(
            "INSERT OR REPLACE INTO members (network, name, link, flags, bridge) "
            "VALUES (?, ?, ?, ?, ?)",
            [
                (str(row.network), row.name, row.link, json.dumps(dict(row.flags)), row.bridge)
                for row in rows
            ],
        )

    def delete_members(self, network: UUID) -> None:
        """Forget the links of a network that has its bridge again."""
        self._db.execute("DELETE FROM members WHERE network=?", (str(network),))

    # Shared settings

    def setting(self, name: str) -> SettingRow | None:
        """Return what is remembered of a shared setting, or ``None``."""
        row = self._db.execute(
            "SELECT previous, ours, link FROM settings WHERE name=?", (name,)
        ).fetchone()
        return None if row is None else SettingRow(*row)

    def put_setting(self, name: str, row: SettingRow) -> None:
        """Remember a shared setting before it is changed."""
        self._db.execute(
            "INSERT OR REPLACE INTO settings VALUES (?, ?, ?, ?)",
            (name, row.previous, row.ours, row.link),
        )

    def rename_setting(self, name: str, other: str) -> None:
        """Give what is remembered of a shared setting, and its users, another name."""
        for table in ("settings", "setting_users"):
            self._db.execute(f"UPDATE OR REPLACE {table} SET name=? WHERE name=?", (other, name))

    def delete_setting(self, name: str) -> None:
        """Forget a shared setting that nobody of us needs."""
        self._db.execute("DELETE FROM settings WHERE name=?", (name,))

    def setting_has_users(self, name: str, *, besides: UUID | None = None) -> bool:
        """Whether any network, or any other than ``besides``, needs a shared setting."""
        query = "SELECT 1 FROM setting_users WHERE name=? AND network IS NOT ? LIMIT 1"
        found = self._db.execute(query, (name, None if besides is None else str(besides)))
        return found.fetchone() is not None

    def add_setting_user(self, name: str, network: UUID) -> None:
        """Count a network among the users of a shared setting."""
        self._db.execute("INSERT OR IGNORE INTO setting_users VALUES (?, ?)", (name, str(network)))

    def delete_setting_user(self, name: str, network: UUID) -> None:
        """Count a network no longer among the users of a shared setting."""
        self._db.execute(
            "DELETE FROM setting_users WHERE name=? AND network=?", (name, str(network))
        )

    def settings_of(self, network: UUID) -> list[str]:
        """Return the shared settings that a network or port needs."""
        return [
            name
            for (name,) in self._db.rows(
                "SELECT name FROM setting_users WHERE network=?", (str(network),)
            )
        ]

    # What was before us of what is not ours

    def record(self, key: str) -> str | None:
        """Return what is recorded under ``key``."""
        row = self._db.execute("SELECT value FROM records WHERE key=?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def records(self, prefix: str) -> dict[str, str]:
        """Return what is recorded under keys that begin with ``prefix``, by the rest of the key."""
        rows = self._db.rows("SELECT key, value FROM records")
        return {key.removeprefix(prefix): value for key, value in rows if key.startswith(prefix)}

    def put_record(self, key: str, value: str) -> None:
        """Record ``value``, in a transaction of its own."""
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO records VALUES (?, ?)", (key, value))

    def delete_record(self, key: str) -> None:
        """Forget what is recorded under ``key``, in a transaction of its own."""
        if self.record(key) is None:
            return
        with self.transaction():
            self._db.execute("DELETE FROM records WHERE key=?", (key,))

    # Events

    def add_event(
        self, time: float, event_type: str, network: str, uuid: UUID, detail: Mapping[str, str]
    ) -> int:
        """Append an event and return its number."""
        number = self.numbers.take()
        self.add_events([EventRow(number, time, event_type, network, uuid, detail)])
        return number

    def add_events(self, rows: Sequence[EventRow]) -> None:
        """Append events that are not there yet."""
        self._db.executemany(
            "INSERT OR IGNORE INTO events (number, time, type, network, uuid, detail) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    row.number,
                    row.time,
                    row.type,
                    row.network,
                    str(row.uuid),
                    json.dumps(dict(row.detail)) if row.detail else "{}",
                )
                for row in rows
            ],
        )
        if any(row.number % 1000 == 0 for row in rows):
            newest = max(row.number for row in rows)
            self._db.execute("DELETE FROM events WHERE number <= ?", (newest - EVENTS_KEPT,))

    @property
    def numbers(self) -> EventNumbers:
        """What gives events their numbers; begun when all that were given before are here."""
        if self._numbers is None:
            (last,) = self._db.execute("SELECT max(number) FROM events").fetchone()
            self._numbers = EventNumbers(last or 0)
        return self._numbers

    def events(self) -> list[tuple[int, float, str, str, UUID, dict[str, str]]]:
        """Return the events kept: number, time, type, network name, uuid, detail."""
        return [
            (number, time, kind, network, UUID(uuid), json.loads(detail))
            for number, time, kind, network, uuid, detail in self._db.rows(
                "SELECT number, time, type, network, uuid, detail FROM events ORDER BY number"
            )
        ]
