"""Ports that are taken back: only what the network has, and nobody else."""

from __future__ import annotations

import pytest

from jackfield.allocation.reclaim import check_reclaimed
from jackfield.allocation.usage import Usage
from jackfield.document.port import read_port
from jackfield.document.reader import read_network
from jackfield.errors import Conflict
from jackfield.model.port import Port
from jackfield.state.facts import Facts

NETWORKS = {
    "direct": "<forward mode='{mode}'><interface dev='eth1'/><interface dev='eth2'/></forward>",
    "hostdev": "<forward mode='hostdev'><address type='pci' domain='0' bus='3' slot='0' "
    "function='1'/></forward>",
    "nat": "<forward mode='nat' dev='eth1'/><ip address='10.0.0.1' prefix='24'/>",
    "functions": "<forward mode='hostdev'><pf dev='eth9'/></forward>",
}
DIRECT = "<plug type='direct' dev='{dev}' mode='{mode}'/>"
FUNCTION = (
    "<plug type='hostdev-pci' managed='yes'><address domain='0' bus='3' slot='0' "
    "function='{function}'/></plug>"
)


def _port(plug: str, uuid: str = "4d") -> Port:
    return read_port(
        f"<networkport><uuid>00000000-0000-0000-0000-0000000000{uuid}</uuid><owner><name>guest"
        "</name><uuid>00000000-0000-0000-0000-000000000005</uuid></owner>"
        f"<mac address='52:54:00:7b:35:93'/>{plug}</networkport>"
    )


def _check(network: str, port: Port, *others: Port, mode: str = "vepa") -> None:
    document = f"<network><name>red</name>{NETWORKS[network].format(mode=mode)}</network>"
    check_reclaimed(
        read_network(document), Facts(), Usage.of(("other", one) for one in others), port
    )


@pytest.mark.parametrize(
    ("network", "plug"),
    [
        ("direct", DIRECT.format(dev="eth2", mode="vepa")),
        ("hostdev", FUNCTION.format(function=1)),
        # Which functions the card has is not known just now.
        ("functions", FUNCTION.format(function=7)),
        ("nat", "<plug type='network' bridge='virbr7'/>"),
    ],
)
def test_what_the_network_has_is_taken_back(network: str, plug: str) -> None:
    """A bridge may even have another name by now."""
    _check(network, _port(plug))


@pytest.mark.parametrize(
    ("network", "plug"),
    [
        ("direct", DIRECT.format(dev="eth3", mode="vepa")),
        ("direct", FUNCTION.format(function=1)),
        ("hostdev", FUNCTION.format(function=2)),
        ("hostdev", DIRECT.format(dev="eth1", mode="vepa")),
        ("nat", DIRECT.format(dev="eth1", mode="vepa")),
    ],
)
def test_what_the_network_has_not_is_refused(network: str, plug: str) -> None:
    """An uplink that is not its own, or one that it uses in another way."""
    with pytest.raises(Conflict, match=r"plugged into \S+, which network 'red' does not have"):
        _check(network, _port(plug))


def test_what_another_has_by_now_is_refused() -> None:
    """Two guests cannot have a NIC for themselves; macvtaps of other modes share it."""
    other = _port(DIRECT.format(dev="eth1", mode="passthrough"), "4e")
    with pytest.raises(Conflict, match="which another port has by now"):
        _check(
            "direct",
            _port(DIRECT.format(dev="eth1", mode="passthrough")),
            other,
            mode="passthrough",
        )
    _check(
        "direct", _port(DIRECT.format(dev="eth2", mode="passthrough")), other, mode="passthrough"
    )
    shared = _port(DIRECT.format(dev="eth1", mode="vepa"), "4e")
    _check("direct", _port(DIRECT.format(dev="eth1", mode="vepa")), shared)
