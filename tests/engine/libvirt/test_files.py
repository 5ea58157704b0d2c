"""libvirt's files: read as they are, and leases there and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jackfield.document.reader import read_network
from jackfield.engine.leases.leases import parse_leases
from jackfield.engine.libvirt.files import (
    Places,
    leases_from_status,
    read_installation,
    read_status,
    status_from_leases,
    write_definition,
)
from jackfield.model.values import InterfaceName

RED = """
<network>
  <name>red</name>
  <uuid>00000000-0000-0000-0000-00000000000a</uuid>
  <bridge name='virbr0'/>
  <ip address='10.0.0.1' prefix='24'/>
  <ip family='ipv6' address='fd00::1' prefix='64'/>
</network>
"""
STATUS = f"""<!-- a header -->
<networkstatus>
  <class_id bitmap='0-2'/>
  {RED}
  <firewall name='fwRemoval' backend='iptables'>
    <group>
      <action layer='ipv4'><args>
        <item>--table</item><item>filter</item><item>--delete</item><item>LIBVIRT_FWO</item>
        <item>--in-interface</item><item>virbr0</item>
      </args></action>
    </group>
  </firewall>
</networkstatus>
"""
LEASES = [
    {
        "ip-address": "10.0.0.73",
        "mac-address": "52:54:00:00:00:01",
        "hostname": "anna",
        "client-id": "01:52:54:00:00:00:01",
        "expiry-time": 1795345786,
    },
    {
        "ip-address": "fd00::123",
        "mac-address": "52:54:00:00:00:01",
        "iaid": "3725474634",
        "server-duid": "00:01:00:01:32:95:7b:e2:52:54:00:a5:bd:c0",
        "client-id": "00:01:00:01:32:95:7b:ea:52:54:00:00:00:01",
        "expiry-time": 1795349686,
    },
]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Give an empty installation."""
    for name in ("networks", "running", "services"):
        (tmp_path / name).mkdir()
    return Places(
        definitions=tmp_path / "networks",
        running=tmp_path / "running",
        services=tmp_path / "services",
    )


def test_a_definition_that_was_written_is_read(places: Places) -> None:
    """Definition and mark come back, and the file is root's alone."""
    red = read_network(RED)
    write_definition(places, red, autostart=True)
    (found,) = read_installation(places)
    assert (red, True, None) == (found.stored, found.autostart, found.live)
    assert 0o600 == places.definition("red").stat().st_mode & 0o777
    write_definition(places, red, autostart=False)
    (found,) = read_installation(places)
    assert not found.autostart
    assert ["autostart", "red.xml"] == sorted(path.name for path in places.definitions.iterdir())


@pytest.mark.parametrize(
    ("mark", "autostart"),
    [("../red.xml", True), ("../blue.xml", False), ("../gone.xml", False), (None, False)],
)
def test_a_mark_leads_to_its_definition(
    places: Places, mark: str | None, *, autostart: bool
) -> None:
    """A link to something else, or a file, is no mark to libvirt, nor to us."""
    for name in ("red", "blue"):
        places.definition(name).write_text(RED.replace(">red<", f">{name}<"))
    link = places.autostart("red")
    link.parent.mkdir()
    if mark is None:
        link.write_text(RED)
    else:
        link.symlink_to(mark)
    assert {"blue": False, "red": autostart} == {
        found.name: found.autostart for found in read_installation(places)
    }


def test_a_running_network(places: Places) -> None:
    """A status file tells the live document, and how the rules are removed."""
    (places.running / "red.xml").write_text(STATUS)
    (found,) = read_installation(places)
    assert read_network(RED) == found.live
    assert found.stored is None
    assert (
        (4, ("--table", "filter", "--delete", "LIBVIRT_FWO", "--in-interface", "virbr0")),
    ) == found.rules


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("iptables", "nftables"),
        ("<item>--delete</item>", "<item>--flush</item>"),
        ("LIBVIRT_FWO", "INPUT"),
        ("layer='ipv4'", "layer='ethernet'"),
        ("firewall", "fire"),
    ],
)
def test_rules_that_are_not_sure(places: Places, old: str, new: str) -> None:
    """What does more than delete single rules of libvirt's chains is not done."""
    (places.running / "red.xml").write_text(STATUS.replace(old, new))
    (found,) = read_installation(places)
    assert found.rules is None


@pytest.mark.parametrize(
    "data",
    [b"", b"<x", b"<domain/>", b"<network><name>blue</name></network>", b"\xff\xfe<network/>"],
)
def test_what_cannot_be_read_says_why(places: Places, data: bytes) -> None:
    """A file that is none, or is about something else, is a problem that names it."""
    places.definition("red").write_bytes(data)
    (found,) = read_installation(places)
    assert found.problem is not None
    assert str(places.definition("red")) in found.problem


def test_a_definition_says_how_it_is_encoded(places: Places) -> None:
    """As in any XML."""
    text = RED.strip().replace("<bridge", "<title>Zürich</title><bridge")
    data = f"<?xml version='1.0' encoding='ISO-8859-1'?>{text}".encode("latin-1")
    places.definition("red").write_bytes(data)
    (found,) = read_installation(places)
    assert found.stored is not None
    assert "Zürich" == found.stored.title


def test_a_running_network_has_a_uuid(places: Places) -> None:
    """A status without one is none of libvirt's."""
    status = STATUS.replace("<uuid>00000000-0000-0000-0000-00000000000a</uuid>", "")
    (places.running / "red.xml").write_text(status)
    (found,) = read_installation(places)
    assert found.problem is not None
    assert "no <uuid>" in found.problem


def test_leases_there_and_back() -> None:
    """What libvirt knows of a lease survives dnsmasq's form of it."""
    text = leases_from_status(LEASES)
    assert [
        "1795345786 52:54:00:00:00:01 10.0.0.73 anna 01:52:54:00:00:00:01",
        "duid 00:01:00:01:32:95:7b:e2:52:54:00:a5:bd:c0",
        "1795349686 3725474634 fd00::123 * 00:01:00:01:32:95:7b:ea:52:54:00:00:00:01",
    ] == text.splitlines()
    leases = parse_leases(text, read_network(RED), InterfaceName("virbr0"))
    assert LEASES == json.loads(status_from_leases(text, leases))


@pytest.mark.parametrize(
    "wrong",
    [
        {"ip-address": "zz"},
        {"ip-address": "fd00::9"},
        {"mac-address": "zz"},
        {"iaid": "5"},
        {"expiry-time": "soon"},
        {"expiry-time": -1},
        {"expiry-time": 10**40},
        {"hostname": "a" * 256},
        {"client-id": "zz"},
        {"client-id": ":".join(["ab"] * 256)},
    ],
    ids=str,
)
def test_what_is_no_lease_is_left_out(wrong: dict[str, object]) -> None:
    """dnsmasq takes each line for what it should be, and ends with some of these."""
    good = {**LEASES[0], "ip-address": "10.0.0.74"}
    lines = leases_from_status([{**LEASES[0], **wrong}, good]).splitlines()
    assert ["10.0.0.74"] == [line.split()[2] for line in lines]


def test_the_newer_lease_of_an_address() -> None:
    """libvirt appends; dnsmasq has one for an address."""
    newer = {**LEASES[0], "hostname": "berta", "expiry-time": 1795345999}
    (line,) = leases_from_status([LEASES[0], newer]).splitlines()
    assert line.startswith("1795345999 52:54:00:00:00:01 10.0.0.73 berta")


def test_a_port_that_cannot_be_read(places: Places) -> None:
    """The others are read, and it is named."""
    (places.running / "red.xml").write_text(STATUS)
    folder = places.running / "red" / "ports"
    folder.mkdir(parents=True)
    (folder / "a.xml").write_text("")
    (folder / "b.xml").write_text(
        "<networkport><uuid>00000000-0000-0000-0000-00000000004d</uuid><owner><name>g</name>"
        "<uuid>00000000-0000-0000-0000-000000000005</uuid></owner>"
        "<mac address='52:54:00:7b:35:93'/></networkport>"
    )
    (found,) = read_installation(places)
    assert (None, 1) == (found.problem, len(found.ports))
    (problem,) = found.unread
    assert str(folder / "a.xml") in problem


def test_a_definition_that_lost_its_uuid(places: Places) -> None:
    """Of a network that runs, it is the one of what runs."""
    (places.running / "red.xml").write_text(STATUS)
    uuid = "<uuid>00000000-0000-0000-0000-00000000000a</uuid>"
    places.definition("red").write_text(RED.replace(uuid, ""))
    (found,) = read_installation(places)
    assert found.stored is not None
    assert found.live is not None
    assert found.live.uuid == found.stored.uuid


def test_leases_that_would_harm() -> None:
    """A line that is not one word for each field, and IPv6 without a MAC, are left out."""
    assert "" == leases_from_status([{**LEASES[0], "hostname": "a b"}, {"ip-address": "10.0.0.9"}])
    assert "" == leases_from_status([{**LEASES[0], "hostname": "a\n0 b"}])
    text = leases_from_status([{**LEASES[1], "client-id": "00:04:ab"}])
    leases = parse_leases(text, read_network(RED), InterfaceName("virbr0"))
    assert 1 == len(leases)
    assert "" == status_from_leases(text, leases)


@pytest.mark.parametrize("text", ["", "{", "{}", "[1, {}]", '"x"'])
def test_a_status_file_with_nothing_in_it(tmp_path: Path, text: str) -> None:
    """Files of another form have no leases; so has one that is missing."""
    path = tmp_path / "virbr0.status"
    assert [] == read_status(path)
    path.write_text(text)
    assert [] == read_status(path)
