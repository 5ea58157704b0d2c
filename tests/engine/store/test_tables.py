"""The store: what is committed is there again, of this boot and namespace only."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from jackfield.engine.store.rows import LiveRow, MemberRow, NetworkRow, PortRow, SettingRow, Step
from jackfield.engine.store.schema import MIGRATIONS
from jackfield.engine.store.tables import Store
from jackfield.errors import HostError
from jackfield.model.values import NetworkName

RED = UUID(int=1)
BLUE = UUID(int=2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the database's path."""
    return tmp_path / "state" / "jackfield.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """Give a store that has entered a host."""
    opened = Store(path)
    # Nothing was there that could be another host's.
    assert not opened.enter("boot", "namespace")
    yield opened
    opened.close()


def reopened(store: Store, path: Path) -> Store:
    """Return the store of the next daemon."""
    store.close()
    return Store(path)


def fill(store: Store) -> None:
    """Put one row in every table."""
    with store.transaction():
        store.put_network(NetworkRow(RED, "red", True, b"{}"))
        store.put_live(LiveRow(RED, Step.SETTLED, b"{}"))
        store.put_port(PortRow(BLUE, RED, Step.SETTLED, "jackfield", b"{}", None))
        store.put_members([MemberRow(RED, "vnet0", 7, {"isolated": True}, "br0")])
        store.put_setting("net/ipv4/ip_forward", SettingRow("0", "1"))
        store.add_setting_user("net/ipv4/ip_forward", RED)
    store.put_record("uplink:eth0", "what it was")
    store.set_autostarted([BLUE])


def test_a_durable_transaction_waits_for_the_disk(store: Store) -> None:
    """It is on disk after ``sync``, once for all that ended before; others need not be."""
    store.sync()
    with store.transaction():
        store.put_live(LiveRow(RED, Step.SETTLED, b"{}"))
    seen = [store.unsynced]
    with store.transaction(durable=True):
        store.put_network(NetworkRow(RED, "red", True, b"{}"))
    seen.append(store.unsynced)
    store.sync()
    seen.append(store.unsynced)
    assert [False, True, False] == seen


def test_everything_is_there_again(store: Store, path: Path) -> None:
    """The next daemon on the same host finds all that was committed."""
    fill(store)
    second = reopened(store, path)
    assert not second.enter("boot", "namespace")
    assert [NetworkRow(RED, "red", True, b"{}")] == second.networks()
    assert [LiveRow(RED, Step.SETTLED, b"{}")] == second.live()
    assert [BLUE] == [row.uuid for row in second.ports()]
    assert [MemberRow(RED, "vnet0", 7, {"isolated": True}, "br0")] == second.members(RED)
    assert "what it was" == second.record("uplink:eth0")
    assert SettingRow("0", "1") == second.setting("net/ipv4/ip_forward")
    assert ["net/ipv4/ip_forward"] == second.settings_of(RED)
    assert not second.setting_has_users("net/ipv4/ip_forward", besides=RED)
    assert frozenset({BLUE}) == second.autostarted()
    second.close()


@pytest.mark.parametrize("host", [("other boot", "namespace"), ("boot", "other namespace")])
def test_another_host_keeps_definitions_only(
    store: Store, path: Path, host: tuple[str, str]
) -> None:
    """What described another boot or namespace is gone, and autostart is due again."""
    fill(store)
    second = reopened(store, path)
    assert second.enter(*host)
    assert [RED] == [row.uuid for row in second.networks()]
    assert [] == second.live()
    assert [] == second.ports()
    assert [] == second.members(RED)
    assert second.record("uplink:eth0") is None
    assert second.setting("net/ipv4/ip_forward") is None
    assert not second.setting_has_users("net/ipv4/ip_forward")
    assert second.autostarted() is None
    second.close()


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    """What raises inside a transaction undoes all of it."""

    def half() -> None:
        with store.transaction(durable=True):
            store.put_live(LiveRow(RED, Step.STARTING, b"{}"))
            raise LookupError

    with pytest.raises(LookupError):
        half()
    assert [] == store.live()
    with store.transaction():
        store.put_live(LiveRow(RED, Step.STARTING, b"{}"))
    assert [LiveRow(RED, Step.STARTING, b"{}")] == store.live()


def test_records_are_kept_until_they_are_deleted(store: Store) -> None:
    """One for a key; to delete what is not there is no error."""
    assert store.record("a") is None
    for value in ("1", "2"):
        store.put_record("a", value)
    store.put_record("b", "3")
    assert ("2", "3") == (store.record("a"), store.record("b"))
    for _ in range(2):
        store.delete_record("a")
    assert (None, "3") == (store.record("a"), store.record("b"))


def test_settling_forgets_what_was_before(store: Store) -> None:
    """A change keeps the former document until it is settled."""
    with store.transaction():
        store.put_live(LiveRow(RED, Step.CHANGING, b"new", b"old"))
    assert [LiveRow(RED, Step.CHANGING, b"new", b"old")] == store.live()
    with store.transaction():
        store.set_live_step(RED, Step.SETTLED)
    assert [LiveRow(RED, Step.SETTLED, b"new")] == store.live()


def test_only_root_reads_it(store: Store, path: Path) -> None:
    """The database is its owner's alone."""
    assert store.networks() == []
    assert 0o600 == path.stat().st_mode & 0o777


def test_two_daemons_are_refused(store: Store, path: Path) -> None:
    """A second one is not let in while the first is there, and what to do is said."""
    with pytest.raises(HostError, match=f"{path}: another process has the database") as caught:
        Store(path)
    assert caught.value.hint is not None
    store.close()
    Store(path).close()


def test_an_older_schema_is_brought_up_to_date(path: Path) -> None:
    """Definitions and events of each former version are there, and their numbers go on."""
    for version in range(1, len(MIGRATIONS)):
        path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        with contextlib.closing(sqlite3.connect(path)) as former:
            for script in MIGRATIONS[:version]:
                former.executescript(script)
            former.execute("INSERT INTO networks VALUES (?, 'red', 1, X'7B7D')", (str(RED),))
            former.execute(
                "INSERT INTO events VALUES (41, 1.0, 'some', 'red', ?, '{}')", (str(RED),)
            )
            former.execute(f"PRAGMA user_version={version}")
            former.commit()
        with contextlib.closing(Store(path)) as store:
            assert [NetworkRow(RED, NetworkName("red"), True, b"{}")] == store.networks()
            assert [(41, 1.0, "some", "red", RED, {})] == store.events()
            with store.transaction():
                assert 42 == store.add_event(2.0, "some", "red", RED, {})


def test_a_newer_schema_is_refused(store: Store, path: Path) -> None:
    """A database of a newer version is left alone, and what to do is said."""
    store.close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(HostError, match="schema 99") as caught:
        Store(path)
    assert caught.value.hint is not None
    opened = {os.path.realpath(entry.path) for entry in os.scandir("/proc/self/fd")}
    assert str(path.resolve()) not in opened


def test_what_is_no_database_is_refused(path: Path) -> None:
    """A file of something else is named, and not overwritten."""
    path.parent.mkdir()
    path.write_bytes(b"something else" * 100)
    with pytest.raises(HostError, match=str(path)):
        Store(path)
    assert path.read_bytes().startswith(b"something else")


def test_a_damaged_page_is_named(path: Path) -> None:
    """Wherever it shows, it is an error that names the file."""
    store = Store(path)
    with store.transaction():
        for _ in range(500):
            store.add_event(1.0, "network-started", "red", RED, {"reason": "long " * 20})
    store.close()
    whole = path.read_bytes()
    said = []
    for start in range(4096, len(whole), 2 * 4096):
        path.write_bytes(whole[:start] + bytes(4096) + whole[start + 4096 :])
        try:
            with contextlib.closing(Store(path)) as damaged:
                assert 500 == len(damaged.events())
        except HostError as error:
            said.append(error.message)
    assert {f"{path}: cannot use the database: database disk image is malformed"} == set(said)
