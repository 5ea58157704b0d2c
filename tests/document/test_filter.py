"""What guests may send, as documents say it."""

from __future__ import annotations

import ipaddress

import pytest

from jackfield.document.convert import convert, read_definition
from jackfield.document.layered import write_layered
from jackfield.document.libvirt import write_network
from jackfield.document.reader import read_network
from jackfield.document.rules import check_definition
from jackfield.document.update.network import update_network
from jackfield.document.update.request import Command, Section
from jackfield.errors import DocumentError, UnsupportedConfiguration
from jackfield.model.mode import Mode
from jackfield.model.network import Network

NAT = """<network>
  <name>red</name>
  <forward mode='nat'/>
  {}
  <ip address='192.168.100.1' netmask='255.255.255.0'><dhcp>
    <range start='192.168.100.2' end='192.168.100.9'/>
  </dhcp></ip>
  {}
</network>"""

PLAIN = "<filterref filter='clean-traffic'/>"
NAMED = """<filterref filter='clean-traffic'>
  <parameter name='IP' value='192.0.2.7'/>
  <parameter name='IPV6' value='2001:db8::7'/>
  <parameter name='IP' value='192.0.2.7'/>
</filterref>"""

SWITCHED = f"""<network>
  <name>m</name>
  <forward mode='bridge'/>
  <bridge name='ovs0'/>
  <virtualport type='openvswitch'/>
  <portgroup name='a'>{PLAIN}</portgroup>
</network>"""


def network(element: str = "", group: str = "") -> Network:
    """Return a NAT network with an element of its own, and a portgroup."""
    return read_definition(NAT.format(element, group), schema=True)


@pytest.mark.parametrize(
    "spelling",
    [
        NAT.format(PLAIN, ""),
        NAT.format("", "").replace("<network>", "<network antiSpoofing='yes'>"),
    ],
)
def test_both_spellings_are_one_thing(spelling: str) -> None:
    """The attribute is the filter in short, and both are written as the element."""
    found = read_definition(spelling, schema=True)
    assert network(PLAIN) == found
    for text in write_network(found), write_layered(found):
        assert f"  {PLAIN}\n" in text
        assert "antiSpoofing" not in text
        assert found == read_network(text)


def test_addresses_are_kept_in_order() -> None:
    """What the parameters name is in the model once, and written as it was read."""
    found = network("", f"<portgroup name='gold'>{NAMED}</portgroup>").portgroups[0]
    assert found.anti_spoofing
    wanted = tuple(ipaddress.ip_address(text) for text in ("192.0.2.7", "2001:db8::7"))
    assert wanted == found.guest_addresses
    text = write_network(network("", f"<portgroup name='gold'>{NAMED}</portgroup>"))
    assert (
        "    <filterref filter='clean-traffic'>\n"
        "      <parameter name='IP' value='192.0.2.7'/>\n"
        "      <parameter name='IPV6' value='2001:db8::7'/>\n"
        "    </filterref>\n"
    ) in text


def test_portgroup_is_exempted_by_the_attribute() -> None:
    """``no`` is not the same as nothing: it stands against the network's filter."""
    found = network(PLAIN, "<portgroup name='free' antiSpoofing='no'/>")
    assert found.portgroups[0].anti_spoofing is False
    assert "<portgroup name='free' antiSpoofing='no'>" in write_network(found)


@pytest.mark.parametrize(
    ("element", "message"),
    [
        ("<filterref/>", "<filterref> lacks its attribute 'filter'"),
        ("<filterref filter='no-mac-spoofing'/>", "allowed are 'clean-traffic'"),
        (
            "<filterref filter='clean-traffic'><parameter name='MAC' value='x'/></filterref>",
            "allowed are 'IP', 'IPV6'",
        ),
        (
            "<filterref filter='clean-traffic'><parameter name='IP' value='fe80::1'/></filterref>",
            "value='fe80::1', which is IPv6",
        ),
        (
            "<filterref filter='clean-traffic'><parameter name='IP' value='here'/></filterref>",
            "value='here'",
        ),
    ],
)
def test_other_filters_are_refused(element: str, message: str) -> None:
    """What we do not do is not promised."""
    with pytest.raises(DocumentError, match=message):
        read_network(NAT.format(element, ""))


def test_contradiction_is_refused() -> None:
    """A filter and its opposite on one element name both."""
    text = NAT.format("", f"<portgroup name='a' antiSpoofing='no'>{PLAIN}</portgroup>")
    with pytest.raises(DocumentError, match="contradicts antiSpoofing='no' of its <portgroup>"):
        read_network(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"<network><name>m</name><forward mode='vepa' dev='eth0'/>{PLAIN}</network>",
            "mode vepa cannot keep: its frames pass no bridge",
        ),
        (
            NAT.format(PLAIN, "<vde/>"),
            "a <vde>, whose guests are all behind one port",
        ),
        (
            SWITCHED,
            "of portgroup 'a', which is not kept on ports of type 'openvswitch'",
        ),
    ],
)
def test_what_cannot_be_kept_is_not_defined(text: str, message: str) -> None:
    """Where frames pass no Linux bridge, the definition is refused."""
    with pytest.raises(UnsupportedConfiguration, match=message):
        check_definition(read_network(text))


def test_json_says_the_same() -> None:
    """The document survives JSON, and addresses without a filter are an error there."""
    text = NAT.format(NAMED, "")
    as_json = convert(text, "json")
    assert network(NAMED) == read_definition(as_json)
    with pytest.raises(DocumentError, match="guest addresses without anti-spoofing"):
        read_definition(as_json.replace('"anti_spoofing": true', '"anti_spoofing": false'))


def test_update_of_something_else_leaves_it() -> None:
    """A reservation that is added does not touch the filter."""
    before = network(NAMED, f"<portgroup name='gold'>{NAMED}</portgroup>")
    host = "<host mac='52:54:00:00:00:01' ip='192.168.100.20'/>"
    after = update_network(before, Section.IP_DHCP_HOST, Command.ADD_LAST, -1, host)
    assert before.guest_addresses == after.guest_addresses
    assert after.anti_spoofing
    assert before.portgroups == after.portgroups
    assert before.mode is Mode.NAT
