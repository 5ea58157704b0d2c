"""The guest's side: it names a network, and nothing of the host."""

from __future__ import annotations

import pytest

from jackfield.document.guest import read_guest
from jackfield.errors import DocumentError


def test_whole_domain() -> None:
    """Everything that belongs to the guest is read; other types only by their type."""
    guest = read_guest("""
        <domain type='kvm'><name>web</name><uuid>d54df46f-1ab5-4a22-8618-4560ef5fac2c</uuid>
          <devices>
            <interface type='network' trustGuestRxFilters='yes'>
              <mac address='52:54:00:00:00:01'/><source network='red' portgroup='gold'/>
              <virtualport><parameters typeid='0x10'/></virtualport>
              <vlan><tag id='42'/></vlan><port isolated='yes'/>
              <bandwidth><inbound floor='5'/></bandwidth></interface>
            <interface type='user'/>
          </devices></domain>""")
    first, second = guest.interfaces
    assert ("web", "red", "gold", True, True) == (
        guest.name,
        first.network,
        first.portgroup,
        first.trust_guest_rx_filters,
        first.isolated,
    )
    assert first.virtualport is not None
    assert first.bandwidth is not None
    assert first.vlan is not None
    assert (16, 42) == (first.virtualport.type_id, first.vlan.tags[0].id)
    assert ("user", None) == (second.kind, second.network)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("<source network='red' mode='vepa'/>", "mode='vepa': the mode belongs to the host's"),
        ("<source network='red' dev='eth0'/>", "dev='eth0': the uplink belongs"),
        ("<source network='red' bridge='br0'/>", "bridge='br0': the bridge belongs"),
        ("<source network='red'><address type='pci'/></source>", "the PCI function belongs"),
        ("<source network='red'><interface dev='e'/></source>", "uplinks belong"),
    ],
)
def test_what_belongs_to_the_host_is_refused(source: str, said: str) -> None:
    """The error says why: each host decides how it makes the network."""
    with pytest.raises(DocumentError) as caught:
        read_guest(f"<interface type='network'>\n{source}</interface>")
    assert said in caught.value.message
    assert caught.value.hint is not None
    assert 2 == caught.value.line


def test_running_guests_document_is_read() -> None:
    """libvirt adds the port and the bridge of the moment; they are not the guest's wish."""
    guest = read_guest(
        "<interface type='network'><source network='red' bridge='virbr0' "
        "portid='d54df46f-1ab5-4a22-8618-4560ef5fac2c'/></interface>"
    )
    assert "red" == guest.interfaces[0].network


@pytest.mark.parametrize(
    "text",
    [
        "<interface/>",
        "<interface type='network'/>",
        "<interface type='network'><source/></interface>",
        "<interface type='user'><mac address='01:00:00:00:00:00'/></interface>",
        "<domain><uuid>x</uuid></domain>",
        "<network/>",
    ],
)
def test_incomplete_guests_are_refused(text: str) -> None:
    """Without a network's name there is nothing to connect to."""
    with pytest.raises(DocumentError):
        read_guest(text)
