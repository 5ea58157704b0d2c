"""Reservations that nobody gets."""

from __future__ import annotations

import pytest

from jackfield.document.reader import read_network
from jackfield.plan.reservations import vain_reservations

RED = """
<network>
  <name>red</name>
  <ip address='10.0.0.1' prefix='24'><dhcp>{}</dhcp></ip>
  <ip family='ipv6' address='fd00::1' prefix='64'>
    <dhcp><host id='0:1:2' ip='fd00::5'/><host name='six' ip='fd00::6'/></dhcp>
  </ip>
</network>
"""
FIRST = "<host mac='52:54:00:00:00:01' ip='10.0.0.5'/>"


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("<host mac='52:54:00:00:00:02' ip='10.0.0.6'/>", None),
        ("<host name='six' ip='10.0.0.6'/>", None),
        (
            "<host name='six' ip='10.0.1.6'/>",
            "six is to have 10.0.1.6, which is not in 10.0.0.0/24",
        ),
        ("<host name='six' ip='10.0.0.1'/>", "six is to have 10.0.0.1, which is the host's own"),
        (
            "<host name='six' ip='10.0.0.5'/>",
            "10.0.0.5 is reserved for 52:54:00:00:00:01 and six: only one gets it",
        ),
        (
            "<host mac='52:54:00:00:00:01' ip='10.0.0.6'/>",
            "52:54:00:00:00:01 has more than one reservation",
        ),
    ],
)
def test_reservations_in_vain(host: str, words: str | None) -> None:
    """libvirt defines and starts such a network, and dnsmasq gives the guest some other address."""
    found = vain_reservations(read_network(RED.format(FIRST + host)))
    if words is None:
        assert [] == found
    else:
        (note,) = found
        assert words in note
