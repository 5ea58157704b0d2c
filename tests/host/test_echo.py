"""The driver that drops what comes back of guests' frames; ``nft`` is the witness."""

from __future__ import annotations

import json
import socket

import pytest

from jackfield.errors import ForeignObject
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.nft.echo import EchoGuardDriver
from jackfield.host.nft.mark import COMMENT
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.functions import EchoGuard
from tests.host.nftlab import listed
from tests.lab.frames import arp
from tests.lab.namespace import NetworkNamespace
from tests.lab.wait import wait_for

pytestmark = pytest.mark.kernel

ONE, TWO = (
    EchoGuard(link=InterfaceName("eth1"), mac=MacAddress(f"52:54:00:00:00:0{number}"))
    for number in (1, 2)
)
TABLE = (
    f'table bridge jackfield-echoes {{ comment "{COMMENT}" '
    "set guests { type ifname . ether_addr elements = "
    '{ "eth1" . 52:54:00:00:00:01, "eth1" . 52:54:00:00:00:02 } } '
    "chain arrive { type filter hook prerouting priority dstnat; policy accept; "
    "iifname . ether saddr @guests counter packets 0 bytes 0 drop } }"
)


def ours(*guards: EchoGuard) -> dict[str, Observed]:
    """Return what observing exactly these gives."""
    return {guard.key: Observed(presence=Presence.OURS, resource=guard) for guard in guards}


def test_a_guards_life(kernel: Kernel, here: NetworkNamespace) -> None:
    """The table comes with the first guest and goes with the last."""
    driver = EchoGuardDriver()
    assert {ONE.key: ABSENT} == driver.observe(kernel, [ONE])
    driver.ensure(kernel, [ONE], {})
    driver.ensure(kernel, [ONE, TWO], {})
    assert TABLE == listed(here)
    assert ours(ONE, TWO) == driver.observe(kernel, [ONE, TWO])
    here.run(["nft", "flush", "chain", "bridge", "jackfield-echoes", "arrive"])
    assert {ONE.key: ABSENT} == driver.observe(kernel, [ONE])
    driver.ensure(kernel, [ONE], {})
    driver.remove(kernel, [ONE])
    assert {ONE.key: ABSENT, **ours(TWO)} == driver.observe(kernel, [ONE, TWO])
    driver.remove(kernel, [ONE])
    driver.remove(kernel, [TWO])
    assert "" == listed(here)


def test_a_table_of_somebody_else(kernel: Kernel, here: NetworkNamespace) -> None:
    """It is named and left alone."""
    driver = EchoGuardDriver()
    here.run(["nft", "add", "table", "bridge", "jackfield-echoes"])
    assert Presence.FOREIGN is driver.observe(kernel, [ONE])[ONE.key].presence
    with pytest.raises(ForeignObject, match="table bridge jackfield-echoes"):
        driver.ensure(kernel, [ONE], {})
    driver.remove(kernel, [ONE])
    assert "table bridge jackfield-echoes { }" == listed(here)


def test_what_comes_back_is_not_learned(kernel: Kernel, here: NetworkNamespace) -> None:
    """The bridge does not take a guest to be where its own frames come in again."""
    here.ip("link", "add", "br0", "up", "type", "bridge")
    for port, end in (("eth1", "wire"), ("tap0", "guest")):
        here.ip("link", "add", port, "up", "master", "br0", "type", "veth", "peer", "name", end)
        here.ip("link", "set", end, "up")
    EchoGuardDriver().ensure(kernel, [ONE], {})
    for end in ("guest", "wire"):
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.bind((end, 0))
            # The other guest is not guarded, and tells when both have been through.
            wire.send(arp(ONE.mac, "192.0.2.21"))
            wire.send(arp(TWO.mac, "192.0.2.22"))
        wait_learned(here, TWO.mac, "tap0" if end == "guest" else "eth1")
    assert "tap0" == places(here)[ONE.mac]


def wait_learned(here: NetworkNamespace, mac: str, port: str) -> None:
    """Wait until the bridge knows an address by that port."""
    wait_for(lambda: port == places(here).get(mac), 5, f"{mac} to be learned at {port}")


def places(here: NetworkNamespace) -> dict[str, str]:
    """Return by which port the bridge knows each address."""
    rows = json.loads(here.run(["bridge", "-j", "fdb", "show", "br", "br0"]).stdout)
    return {row["mac"]: row["ifname"] for row in rows if "self" not in row["flags"]}
