"""What libvirt's format does not have of a document."""

from __future__ import annotations

import pytest

from jackfield.document.additions import additions
from jackfield.document.libvirt import write_network
from jackfield.document.reader import read_network

BRIDGE = "<network><name>red</name><forward mode='bridge'/>"
ROUTE = "<network><name>red</name><forward mode='route' dev='eth0'>"
NAT = "<network><name>red</name><forward mode='nat'{}</forward><ip address='10.0.0.1' prefix='24'/>"
UPLINKS = "<bridge name='br0'><uplinks><interface dev='eth0'/></uplinks></bridge>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<network><name>red</name><bridge name='br0'/></network>", ()),
        (NAT.format(" dev='eth0'>") + "</network>", ()),
        (
            NAT.format("><interface dev='eth0'/><uplink dev='eth1'/>") + "<vde/></network>",
            ("<uplink>", "<vde>"),
        ),
        (
            NAT.format(
                "><portForward proto='tcp'><range start='22'/><target ip='10.0.0.9'/></portForward>"
            )
            + "<filterref filter='clean-traffic'/><portgroup name='free' antiSpoofing='no'/>"
            "</network>",
            ("<portForward>", "<filterref>", "antiSpoofing of portgroup 'free'"),
        ),
        (
            BRIDGE
            + UPLINKS
            + "<portgroup name='a' count='3'><interface dev='eth0'/><port isolated='yes'/>"
            "<filterref filter='clean-traffic'/></portgroup><portgroup name='b'/></network>",
            ("<uplinks>", "count, uplinks, <port>, <filterref> of portgroup 'a'"),
        ),
        (
            ROUTE
            + "<proxy arp='yes' ndp='no'/></forward><ip address='10.0.0.1' prefix='24'/></network>",
            ("<proxy>",),
        ),
    ],
)
def test_additions(text: str, expected: tuple[str, ...]) -> None:
    """Each is named as it stands in the document that leaves."""
    network = read_network(text)
    assert expected == additions(network)
    written = write_network(network)
    elements = [word for name in expected for word in name.split(", ") if word.startswith("<")]
    assert all(word.partition(">")[0] in written for word in elements)
