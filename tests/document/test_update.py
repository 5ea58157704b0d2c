"""Partial updates: libvirt's cases, and the sections that libvirt does not implement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jackfield.document.libvirt import write_network
from jackfield.document.reader import read_network
from jackfield.document.update.network import update_network
from jackfield.document.update.request import Command, Section
from jackfield.errors import Conflict, DocumentError, JackfieldError, UnsupportedOperation
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.uplink import DeviceUplink
from jackfield.model.values import InterfaceName
from tests.corpus import find_corpus


def _folder() -> Path | None:
    folder = find_corpus()
    return None if folder is None else folder / "libvirt-11.3/update"


def _cases() -> list[dict[str, Any]]:
    folder = _folder()
    if folder is None:
        return []
    cases: list[dict[str, Any]] = json.loads((folder / "cases.json").read_text())
    return cases


@pytest.mark.parametrize("case", _cases(), ids=lambda case: case["name"])
def test_result_is_libvirts(case: dict[str, Any]) -> None:
    """Each case gives libvirt's document, or is refused as libvirt refuses it."""
    folder = _folder()
    assert folder is not None
    network = read_network((folder / "network" / case["network"]).read_bytes())
    section = Section[case["section"].upper().replace("-", "_")]
    command = Command[case["command"].upper().replace("-", "_")]
    text = (folder / "update" / case["update"]).read_bytes()
    if case["expect"] == "reject":
        with pytest.raises(JackfieldError) as caught:
            update_network(network, section, command, case["parent_index"], text)
        assert caught.value.code in (27, 55, 84)
        return
    updated = update_network(network, section, command, case["parent_index"], text)
    assert (folder / "expect" / case["expect"]).read_text() == write_network(updated)


NAT = read_network("""
<network><name>n</name><forward mode='nat' dev='eth0'/>
  <bridge name='virbr0' stp='off'/><domain name='a.org'/>
  <ip address='10.0.0.1' prefix='24'>
    <dhcp><host mac='52:54:00:00:00:01' name='a' ip='10.0.0.5'/></dhcp></ip></network>""")


def _change(section: Section, command: Command, text: str, network: Network = NAT) -> Network:
    return update_network(network, section, command, -1, text)


def test_bridge_is_modified() -> None:
    """A new bridge element replaces the old one, whose name stays unless another is given."""
    changed = _change(Section.BRIDGE, Command.MODIFY, "<bridge stp='on' delay='2'/>")
    assert changed.bridge is not None
    assert ("virbr0", True, 2) == (changed.bridge.name, changed.bridge.stp, changed.bridge.delay)
    for command in (Command.ADD_LAST, Command.DELETE):
        with pytest.raises(Conflict):
            _change(Section.BRIDGE, command, "<bridge name='x'/>")


def test_bridge_gets_uplinks() -> None:
    """An existing bridge becomes a managed one by its uplinks."""
    network = read_network(
        "<network><name>n</name><forward mode='bridge'/><bridge name='br0'/></network>"
    )
    text = "<bridge><uplinks><interface dev='eth0'/></uplinks></bridge>"
    changed = _change(Section.BRIDGE, Command.MODIFY, text, network)
    assert (DeviceUplink(dev=InterfaceName("eth0")),) == changed.uplinks
    back = _change(Section.FORWARD_INTERFACE, Command.DELETE, "<interface dev='eth0'/>", changed)
    assert network == back


def test_domain_is_added_modified_and_deleted() -> None:
    """There is at most one domain."""
    with pytest.raises(Conflict, match="already"):
        _change(Section.DOMAIN, Command.ADD_LAST, "<domain name='b.org'/>")
    changed = _change(Section.DOMAIN, Command.MODIFY, "<domain name='b.org' localOnly='yes'/>")
    assert changed.domain is not None
    assert ("b.org", True) == (changed.domain.name, changed.domain.local_only)
    with pytest.raises(Conflict, match="no such domain"):
        _change(Section.DOMAIN, Command.DELETE, "<domain name='a.org'/>", changed)
    bare = _change(Section.DOMAIN, Command.DELETE, "<domain name='b.org'/>", changed)
    assert bare.domain is None
    again = _change(Section.DOMAIN, Command.ADD_FIRST, "<domain name='a.org'/>", bare)
    assert NAT == again


def test_ip_is_added_modified_and_deleted() -> None:
    """Subnets are told apart by their address."""
    more = _change(Section.IP, Command.ADD_FIRST, "<ip address='10.1.0.1' prefix='24'/>")
    assert ["10.1.0.1", "10.0.0.1"] == [str(one.address) for one in more.subnets]
    with pytest.raises(Conflict, match="already"):
        _change(Section.IP, Command.ADD_LAST, "<ip address='10.1.0.1' prefix='16'/>", more)
    wide = _change(Section.IP, Command.MODIFY, "<ip address='10.1.0.1' prefix='16'/>", more)
    assert 16 == wide.subnets[0].prefix
    assert NAT == _change(Section.IP, Command.DELETE, "<ip address='10.1.0.1'/>", wide)
    with pytest.raises(DocumentError, match="no <ip>"):
        _change(Section.IP, Command.DELETE, "<ip address='10.0.0.1'/>")


def test_forward_is_modified_added_and_deleted() -> None:
    """A network changes its mode by its forward element."""
    routed = _change(Section.FORWARD, Command.MODIFY, "<forward mode='route' dev='eth1'/>")
    assert (Mode.ROUTE, "eth1") == (routed.mode, routed.uplinks[0].dev)  # type: ignore[union-attr]
    alone = _change(Section.FORWARD, Command.DELETE, "<forward/>", routed)
    assert (Mode.ISOLATED, ()) == (alone.mode, alone.uplinks)
    back = _change(Section.FORWARD, Command.ADD_LAST, "<forward mode='nat' dev='eth0'/>", alone)
    assert NAT == back
    with pytest.raises(DocumentError, match="vepa"):
        _change(Section.FORWARD, Command.MODIFY, "<forward mode='vepa' dev='eth0'/>")


def test_physical_function_is_replaced() -> None:
    """A network has one physical function, which can be another one."""
    network = read_network(
        "<network><name>n</name><forward mode='hostdev'><pf dev='eth0'/></forward></network>"
    )
    other = _change(Section.FORWARD_PF, Command.MODIFY, "<pf dev='eth1'/>", network)
    assert "eth1" == other.uplinks[0].dev  # type: ignore[union-attr]
    with pytest.raises(Conflict):
        _change(Section.FORWARD_PF, Command.ADD_LAST, "<pf dev='eth2'/>", other)
    none = _change(Section.FORWARD_PF, Command.DELETE, "<pf dev='eth1'/>", other)
    assert () == none.uplinks
    assert network == _change(Section.FORWARD_PF, Command.ADD_LAST, "<pf dev='eth0'/>", none)


def test_used_uplink_stays() -> None:
    """An uplink with ports cannot be removed, in whatever section."""
    used = {NAT.uplinks[0]: 2}
    for section, command, text in (
        (Section.FORWARD_INTERFACE, Command.DELETE, "<interface dev='eth0'/>"),
        (Section.FORWARD, Command.MODIFY, "<forward mode='nat'/>"),
        (Section.FORWARD, Command.DELETE, "<forward/>"),
    ):
        with pytest.raises(Conflict, match="eth0 is used by 2 ports"):
            update_network(NAT, section, command, -1, text, in_use=used)


@pytest.mark.parametrize(
    ("section", "text"),
    [
        (Section.IP_DHCP_RANGE, "<range start='10.0.0.2' end='10.0.0.9'/>"),
        (Section.DNS_SRV, "<srv service='a' protocol='tcp'/>"),
        (Section.FORWARD_INTERFACE, "<interface dev='eth0'/>"),
    ],
)
def test_records_are_not_modified(section: Section, text: str) -> None:
    """libvirt's answer for what can only be added and deleted has its code 84."""
    with pytest.raises(UnsupportedOperation) as caught:
        _change(section, Command.MODIFY, text)
    assert 84 == caught.value.code


def test_dns_records_are_modified() -> None:
    """A host by its address, a text by its name: each keeps its place."""
    network = read_network(
        "<network><name>n</name><dns><txt name='a' value='1'/><txt name='b' value='2'/>"
        "<host ip='10.0.0.3'><hostname>x</hostname></host></dns></network>"
    )
    changed = _change(Section.DNS_TXT, Command.MODIFY, "<txt name='a' value='3'/>", network)
    text = "<host ip='10.0.0.3'><hostname>y</hostname></host>"
    changed = _change(Section.DNS_HOST, Command.MODIFY, text, changed)
    assert changed.dns is not None
    assert [("a", "3"), ("b", "2")] == [(one.name, one.value) for one in changed.dns.txts]
    assert [("y",)] == [one.hostnames for one in changed.dns.hosts]
    with pytest.raises(Conflict):
        _change(Section.DNS_TXT, Command.MODIFY, "<txt name='c' value='3'/>", network)


def test_wrong_fragment_is_named() -> None:
    """The error says which element the section expects."""
    with pytest.raises(DocumentError) as caught:
        _change(Section.PORTGROUP, Command.ADD_LAST, "<host/>")
    assert "section portgroup expects <portgroup>" == caught.value.hint


def test_what_an_update_leaves_is_checked() -> None:
    """An update cannot make a network that could not be defined."""
    text = "<ip address='10.1.0.1' prefix='24'><dhcp><range start='10.1.0.7' end='10.1.0.8'/>"
    with pytest.raises(JackfieldError, match="more than one <ip> of IPv4 with <dhcp>"):
        _change(Section.IP, Command.ADD_LAST, f"{text}</dhcp></ip>")


@pytest.mark.parametrize("command", [Command.ADD_FIRST, Command.ADD_LAST])
@pytest.mark.parametrize(
    ("section", "text"),
    [
        (Section.IP_DHCP_HOST, "<host mac='52:54:00:00:00:02' ip='10.1.0.7'/>"),
        (Section.IP_DHCP_RANGE, "<range start='10.1.0.7' end='10.1.0.8'/>"),
    ],
)
def test_dhcp_is_added_where_it_is_served(section: Section, command: Command, text: str) -> None:
    """A second subnet of a family gets no DHCP, in libvirt's words."""
    two = _change(Section.IP, Command.ADD_LAST, "<ip address='10.1.0.1' prefix='24'/>")
    with pytest.raises(JackfieldError, match=r"serves DHCP at 10\.0\.0\.1 already") as caught:
        update_network(two, section, command, 1, text)
    told = "dhcp is supported only for a single IPv4 address on each network"
    assert caught.value.libvirt is not None
    assert (told, 55) == caught.value.libvirt[:2]
