"""Lease files: what their lines mean, what changed between two readings, and who is told."""

from __future__ import annotations

import asyncio
import ipaddress
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jackfield.engine.leases.leases import (
    LeaseChanges,
    LeaseFile,
    LeaseWatch,
    compare_leases,
    parse_leases,
    read_leases,
)
from jackfield.engine.views import LeaseView
from jackfield.host.inotify import Inotify
from jackfield.model.address import Subnet
from jackfield.model.network import Network
from jackfield.model.values import InterfaceName, MacAddress, NetworkName

BRIDGE = InterfaceName("virbr0")
RED = UUID("5d1f1a3e-6c1c-4d8e-9d0b-1a2b3c4d5e6f")
NETWORK = Network(
    name=NetworkName("red"),
    subnets=(
        Subnet(address=ipaddress.ip_address("10.1.0.1"), prefix=24),
        Subnet(address=ipaddress.ip_address("fd00:1::1"), prefix=64),
    ),
)
FILE = """\
1700003600 52:54:00:00:00:01 10.1.0.10 vm 01:52:54:00:00:00:01
0 52:54:00:00:00:02 10.1.0.11 * *
duid 00:01:00:01:2c:7e:3a:10:52:54:00:aa:bb:cc
1700003600 5378 fd00:1::77 vm 00:03:00:01:52:54:00:00:00:01
1700003600 T7 fd00:1::78 * 00:04:7e:7d:f0:7d
"""


def lease(address: str, **fields: object) -> LeaseView:
    """Return a lease of the network."""
    values: dict[str, object] = {
        "network": NETWORK.name,
        "device": BRIDGE,
        "mac": None,
        "address": ipaddress.ip_address(address),
        "prefix": 24 if "." in address else 64,
        "expires": 1700003600,
    }
    return LeaseView(**{**values, **fields})  # type: ignore[arg-type]


def test_lines_of_both_families() -> None:
    """IPv4 lines have a MAC address and a client id, IPv6 ones an IAID and a DUID."""
    mac = MacAddress("52:54:00:00:00:01")
    assert [
        lease("10.1.0.10", mac=mac, hostname="vm", client_id="01:52:54:00:00:00:01"),
        lease("10.1.0.11", mac=MacAddress("52:54:00:00:00:02"), expires=0),
        lease(
            "fd00:1::77",
            mac=mac,
            hostname="vm",
            client_id="00:03:00:01:52:54:00:00:00:01",
            iaid="5378",
        ),
        lease("fd00:1::78", client_id="00:04:7e:7d:f0:7d", iaid="7"),
    ] == parse_leases(FILE, NETWORK, BRIDGE)


def test_expired_leases_are_left_out() -> None:
    """A lease that has ended is none; one without end never ends."""
    assert ["10.1.0.11"] == [
        str(view.address) for view in parse_leases(FILE, NETWORK, BRIDGE, now=1700003600)
    ]


@pytest.mark.parametrize(
    ("duid", "mac"),
    [
        ("00:01:00:01:2c:7e:3a:10:52:54:00:aa:bb:cc", "52:54:00:aa:bb:cc"),
        ("00:03:00:01:52:54:00:AA:BB:CC", "52:54:00:aa:bb:cc"),
        ("00:03:00:06:52:54:00:aa:bb:cc", None),
        ("00:02:00:00:00:09:0c:c0:84:d3:03:00:09:12", None),
    ],
)
def test_mac_of_a_duid(duid: str, mac: str | None) -> None:
    """A DUID made from an Ethernet address tells it (RFC 8415, 11.2 and 11.4)."""
    (view,) = parse_leases(f"1 7 fd00:1::5 * {duid}\n", NETWORK, BRIDGE)

    assert mac == view.mac


def test_address_outside_the_subnets() -> None:
    """A lease of a subnet that is no more has the address' own length."""
    (view,) = parse_leases("1 52:54:00:00:00:01 10.2.0.1 * *\n", NETWORK, BRIDGE)

    assert 32 == view.prefix


@pytest.mark.parametrize(
    "line",
    [
        "",
        "duid 00:01",
        "x 52:54:00:00:00:01 10.1.0.10 * *",
        "1 52:54:00:00:00 10.1.0.10 * *",
        "1 52:54:00:00:00:01 10.1.0 * *",
        "1 52:54:00:00:00:01 10.1.0.10 *",
        "1 52:54:00:00:00:01 10.1.0.10 * * more",
        "1 x7 fd00:1::5 * *",
        "² 52:54:00:00:00:01 10.1.0.10 * *",
        "99999999999999999999 52:54:00:00:00:01 10.1.0.10 * *",
    ],
)
def test_what_is_no_lease_is_left_out(line: str) -> None:
    """A broken line costs itself alone."""
    whole = "0 52:54:00:00:00:02 10.1.0.11 * *\n"
    assert ["10.1.0.11"] == [
        str(view.address) for view in parse_leases(f"{line}\n{whole}", NETWORK, BRIDGE)
    ]


@given(st.integers(0, len(FILE)))
def test_torn_file_gives_some_of_its_leases(length: int) -> None:
    """Whatever part of the file was there gives leases of the file, in its order."""
    whole = parse_leases(FILE, NETWORK, BRIDGE)
    part = parse_leases(FILE[:length], NETWORK, BRIDGE)

    assert whole[: len(part)] == part


@given(st.text(alphabet="0123456789abT:*. \n\t", max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    """No text is an error."""
    parse_leases(text, NETWORK, BRIDGE)


def test_ethernet_only() -> None:
    """Other hardware than Ethernet has no MAC address of ours."""
    (view,) = parse_leases("1 20-aa:bb:cc 10.1.0.10 * ff:00\n", NETWORK, BRIDGE)

    assert view.mac is None


def test_changes_between_readings() -> None:
    """Renewed and renamed leases are the same; another guest's is not."""
    one = MacAddress("52:54:00:00:00:01")
    two = MacAddress("52:54:00:00:00:02")
    former = [lease("10.1.0.10", mac=one), lease("10.1.0.11", mac=two)]
    present = [
        lease("10.1.0.10", mac=one, expires=1700009999, hostname="vm"),
        lease("10.1.0.11", mac=one),
    ]

    assert LeaseChanges(added=(present[1],), removed=(former[1],)) == compare_leases(
        former, present
    )


def test_missing_file_has_no_leases(tmp_path: Path) -> None:
    """Before the first lease there may be no file."""
    assert [] == read_leases(tmp_path / "none", NETWORK, BRIDGE)


def test_a_file_that_is_read_again(tmp_path: Path) -> None:
    """What is new, renewed, expired or gone since is seen, and what the network is called now."""
    path = tmp_path / "red.leases"
    line = "{expires} 52:54:00:00:00:0{number} 10.1.0.{number} * *\n"
    first, second = (line.format(expires=100, number=number) for number in (1, 2))
    file = LeaseFile(path)
    assert [] == file.read(NETWORK, BRIDGE)
    for text in (
        first,
        first + second,
        second,
        line.format(expires=200, number=2),
        "",
        first,
    ):
        path.write_text(text)
        for now in (50, 150, 250):
            assert parse_leases(text, NETWORK, BRIDGE, now=now) == file.read(
                NETWORK, BRIDGE, now=now
            )
    other = msgspec.structs.replace(NETWORK, name=NetworkName("blue"), subnets=())
    assert parse_leases(first, other, BRIDGE) == file.read(other, BRIDGE)
    assert [("blue", 32)] == [(one.network, one.prefix) for one in file.read(other, BRIDGE)]
    path.unlink()
    assert [] == file.read(NETWORK, BRIDGE)


def test_watch_tells_once_after_a_burst(tmp_path: Path) -> None:
    """Writes in a row are told once; other files are not told at all."""

    async def run() -> None:
        told: asyncio.Queue[UUID] = asyncio.Queue()
        inotify = Inotify()
        watch = LeaseWatch(inotify, tmp_path / "dnsmasq", told.put_nowait, settle=0.05)
        try:
            path = tmp_path / "dnsmasq" / f"{RED}.leases"
            with path.open("w") as file:
                for line in FILE.splitlines(keepends=True):
                    file.write(line)
                    file.flush()
                    await asyncio.sleep(0.001)
            (path.parent / "other").write_text("x")
            (path.parent / "x.leases").write_text("x")
            assert RED == await asyncio.wait_for(told.get(), 5)
            assert told.empty()
            path.unlink()
            assert RED == await asyncio.wait_for(told.get(), 5)
            assert told.empty()
        finally:
            watch.close()
            inotify.close()

    asyncio.run(run())
