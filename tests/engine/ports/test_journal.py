"""The journal of ports: what was written is in the database after any end of the daemon."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from jackfield.engine.ports.journal import GONE, PortEntry, PortJournal
from jackfield.engine.store.rows import PortRow, Step
from jackfield.engine.store.tables import Store
from jackfield.errors import HostError

RED = UUID(int=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Give a store with one event."""
    opened = Store(tmp_path / "jackfield.db")
    with opened.transaction():
        assert 1 == opened.add_event(1.0, "network-defined", "red", RED, {})
    yield opened
    opened.close()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[PortJournal]:
    """Give a journal that is open."""
    opened = PortJournal(tmp_path)
    opened.open()
    yield opened
    opened.close()


def entry(port: int, number: int, document: bytes | None = b'{"isolated":true}') -> PortEntry:
    """Return what becomes of a port."""
    return PortEntry(
        port=UUID(int=port),
        network=RED,
        realiser="client",
        document=GONE if document is None else msgspec.Raw(document),
        number=number,
        time=2.5,
        type="port-detached" if document is None else "port-attached",
        name="red",
        detail={"port": str(UUID(int=port))},
    )


def row(port: int, document: bytes = b'{"isolated":true}') -> PortRow:
    """Return a port's row."""
    return PortRow(UUID(int=port), RED, Step.SETTLED, "client", document, None)


def found(store: Store) -> tuple[list[PortRow], list[int]]:
    """Return the ports, and the numbers of the events."""
    rows = sorted(store.ports(), key=lambda item: item.uuid)
    return rows, [number for number, *_ in store.events()]


def test_lines_are_folded_in(store: Store, journal: PortJournal, tmp_path: Path) -> None:
    """The last word on each port counts, every event is kept, and their numbers go on."""
    for one in (entry(7, 2), entry(8, 3), entry(9, 4), entry(8, 5, None), entry(9, 6, b"{}")):
        journal.append(one)
    assert 5 == journal.lines
    journal.fold(store)
    assert ([row(7), row(9, b"{}")], [1, 2, 3, 4, 5, 6]) == found(store)
    assert 0 == journal.lines
    store.close()
    with contextlib.closing(Store(tmp_path / "jackfield.db")) as again:
        assert 7 == again.numbers.take()
        journal.append(entry(7, 8, None))
        journal.fold(again)
        journal.fold(again)
        assert ([row(9, b"{}")], [1, 2, 3, 4, 5, 6, 8]) == found(again)


@pytest.mark.parametrize("folded", [False, True])
def test_a_daemon_that_died_while_folding(
    store: Store, journal: PortJournal, tmp_path: Path, *, folded: bool
) -> None:
    """Lines that were in the database already are folded in again, and those after them as well."""
    for number in (2, 3):
        journal.append(entry(number, number))
    lines = (tmp_path / "ports.journal").read_bytes()
    if folded:
        journal.fold(store)
    (tmp_path / "ports.journal.folding").write_bytes(lines)
    journal.open()
    journal.append(entry(2, 4, None))
    second = PortJournal(tmp_path)
    second.fold(store)
    second.open()
    assert ([row(3)], [1, 2, 3, 4]) == found(store)
    assert ["jackfield.db", "jackfield.db-wal", "ports.journal"] == sorted(
        path.name for path in tmp_path.iterdir()
    )
    second.close()


@pytest.mark.parametrize("kept", [1, 40, -1])
def test_a_line_without_its_end_counts_for_nothing(
    store: Store, journal: PortJournal, tmp_path: Path, kept: int
) -> None:
    """Nobody was told of what it says."""
    journal.append(entry(7, 2))
    first = (tmp_path / "ports.journal").read_bytes()
    journal.append(entry(8, 3))
    second = (tmp_path / "ports.journal").read_bytes()[len(first) :]
    (tmp_path / "ports.journal").write_bytes(first + second[:kept])
    PortJournal(tmp_path).fold(store)
    assert ([row(7)], [1, 2]) == found(store)


def test_a_full_disk_refuses_the_line_and_not_the_next(
    store: Store, journal: PortJournal, tmp_path: Path
) -> None:
    """What could be written in part is taken back, so that the next line begins on its own."""
    journal.append(entry(7, 2))
    path = tmp_path / "ports.journal"
    size = path.stat().st_size
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, former[1]))
    try:
        with pytest.raises(HostError, match="cannot write"):
            journal.append(entry(8, 3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert size == path.stat().st_size
    journal.append(entry(9, 4))
    journal.fold(store)
    assert ([row(7), row(9)], [1, 2, 4]) == found(store)


def test_what_cannot_be_read_costs_only_itself(
    store: Store, journal: PortJournal, tmp_path: Path
) -> None:
    """A line that a disk has spoilt is told in the log, and the others count."""
    journal.append(entry(7, 2))
    path = tmp_path / "ports.journal"
    path.write_bytes(b"\0\0\0\n" + path.read_bytes() + b'{"port":"no uuid"}\n')
    PortJournal(tmp_path).fold(store)
    assert ([row(7)], [1, 2]) == found(store)
