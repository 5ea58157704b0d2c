"""The driver that keeps private guests from each other; ``nft`` and frames are the witnesses.

::

    guests, macvlans of mode private ── eth1, eth2 ═══ wire1, wire2 (what the switch would send)
"""

from __future__ import annotations

import re
import socket
from uuid import UUID

import pytest

from jackfield.errors import ForeignObject, MissingFeature
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.nft import private
from jackfield.host.nft.mark import COMMENT
from jackfield.host.nft.private import PrivateGuardDriver
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.private import PrivateGuard
from tests.host.nftlab import listed
from tests.lab.frames import frame
from tests.lab.namespace import NetworkNamespace

pytestmark = pytest.mark.kernel

RED, BLUE = UUID(int=1), UUID(int=2)
KIND = 0x88B5  # IEEE 802: for experiments


def guard(number: int, link: str, network: UUID = RED) -> PrivateGuard:
    """Return the guard of a guest."""
    mac = MacAddress(f"52:54:00:00:00:0{number}")
    return PrivateGuard(network=network, link=InterfaceName(link), mac=mac)


ONE, TWO, THREE = guard(1, "eth1"), guard(2, "eth1"), guard(3, "eth2")
OTHER = guard(4, "eth1", BLUE)
TABLE = (
    f'table netdev jackfield-private {{ comment "{COMMENT}" '
    f"set guests-{RED} {{ type ether_addr elements = "
    '{ 52:54:00:00:00:01 comment "eth1", 52:54:00:00:00:02 comment "eth1" } } '
    'chain eth1 { type filter hook ingress device "eth1" priority filter; policy accept; '
    f"ether saddr @guests-{RED} meta pkttype != host counter packets 0 bytes 0 drop }} }}"
)


@pytest.fixture(autouse=True)
def uplinks(here: NetworkNamespace) -> None:
    """Make two uplinks, each with a wire."""
    here.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1")
    for number in ("1", "2"):
        make_uplink(here, number)


def make_uplink(here: NetworkNamespace, number: str) -> None:
    """Make one uplink and its wire."""
    names = ("eth" + number, "up", "type", "veth", "peer", "name", "wire" + number)
    here.ip("link", "add", *names)
    here.ip("link", "set", "wire" + number, "up")


def chains(here: NetworkNamespace) -> dict[str, list[str]]:
    """Return which sets each chain looks up."""
    items = here.nft()
    found: dict[str, list[str]] = {item["chain"]["name"]: [] for item in items if "chain" in item}
    for item in items:
        if "rule" in item:
            found[item["rule"]["chain"]].append(item["rule"]["expr"][0]["match"]["right"])
    return found


def ours(*guards: PrivateGuard) -> dict[str, Observed]:
    """Return what observing exactly these gives."""
    return {guard.key: Observed(presence=Presence.OURS, resource=guard) for guard in guards}


def test_a_guards_life(kernel: Kernel, here: NetworkNamespace) -> None:
    """The table comes with the first guest and goes with the last."""
    driver = PrivateGuardDriver()
    driver.refuse_impossible(kernel, [ONE])
    assert "" == listed(here)
    assert {ONE.key: ABSENT} == driver.observe(kernel, [ONE])
    driver.ensure(kernel, [ONE], {})
    driver.ensure(kernel, [ONE, TWO], {})
    assert TABLE == listed(here)
    assert ours(ONE, TWO) == driver.observe(kernel, [ONE, TWO])
    driver.remove(kernel, [ONE])
    assert {ONE.key: ABSENT, **ours(TWO)} == driver.observe(kernel, [ONE, TWO])
    driver.remove(kernel, [ONE])
    driver.remove(kernel, [TWO])
    assert "" == listed(here)
    driver.remove(kernel, [TWO])


def test_chains_where_guests_are(kernel: Kernel, here: NetworkNamespace) -> None:
    """An uplink has a rule for each network with guests there, and no chain without guests."""
    driver = PrivateGuardDriver()
    red, blue = f"@guests-{RED}", f"@guests-{BLUE}"
    driver.ensure(kernel, [ONE, THREE], {})
    driver.ensure(kernel, [OTHER], {})
    assert {"eth1": [red, blue], "eth2": [red]} == chains(here)
    driver.remove(kernel, [ONE])
    assert {"eth1": [blue], "eth2": [red]} == chains(here)
    driver.ensure(kernel, [TWO], {})
    driver.remove(kernel, [THREE])
    assert {"eth1": [red, blue]} == chains(here)
    driver.remove(kernel, [TWO])
    assert {"eth1": [blue]} == chains(here)
    assert f"set guests-{RED}" not in listed(here)
    driver.remove(kernel, [OTHER])
    assert "" == listed(here)


def test_one_address_over_two_uplinks(kernel: Kernel, here: NetworkNamespace) -> None:
    """An address stays entered, and both uplinks have their rule, as long as each has its guest."""
    driver = PrivateGuardDriver()
    there = guard(1, "eth2")
    red = f"@guests-{RED}"
    driver.ensure(kernel, [ONE, OTHER], {})
    driver.ensure(kernel, [there], {})
    assert '52:54:00:00:00:01 comment "eth1 eth2"' in listed(here)
    driver.ensure(kernel, [ONE, there, TWO], {})
    assert ours(ONE, there, TWO) == driver.observe(kernel, [ONE, there, TWO])
    driver.remove(kernel, [ONE])
    assert {ONE.key: ABSENT, **ours(there, TWO)} == driver.observe(kernel, [ONE, there, TWO])
    driver.remove(kernel, [TWO])
    assert {"eth1": [f"@guests-{BLUE}"], "eth2": [red]} == chains(here)
    assert '52:54:00:00:00:01 comment "eth2"' in listed(here)
    driver.remove(kernel, [there, OTHER])
    assert "" == listed(here)
    driver.ensure(kernel, [ONE, there], {})
    driver.remove(kernel, [ONE, there])
    assert "" == listed(here)


@pytest.mark.parametrize(
    "damage",
    [
        "flush ruleset",
        "flush chain netdev jackfield-private eth1",
        "insert rule netdev jackfield-private eth1 accept",
        f"flush set netdev jackfield-private guests-{RED}",
    ],
)
def test_what_is_damaged_is_absent(kernel: Kernel, here: NetworkNamespace, damage: str) -> None:
    """What somebody has taken or put in is seen, and mended."""
    driver = PrivateGuardDriver()
    driver.ensure(kernel, [ONE, TWO], {})
    here.run(["nft", damage])
    assert {ONE.key: ABSENT, TWO.key: ABSENT} == driver.observe(kernel, [ONE, TWO])
    driver.ensure(kernel, [ONE, TWO], {})
    assert TABLE == listed(here)


def test_an_uplink_that_goes_and_comes_back(kernel: Kernel, here: NetworkNamespace) -> None:
    """Without its device a chain is not missed, and is no obstacle to anything."""
    driver = PrivateGuardDriver()
    driver.ensure(kernel, [ONE, THREE], {})
    here.ip("link", "del", "eth1")
    assert ours(ONE, THREE) == driver.observe(kernel, [ONE, THREE])
    here.run(["nft", "flush", "ruleset"])
    driver.ensure(kernel, [ONE, TWO, THREE], {})
    assert ours(ONE, TWO, THREE) == driver.observe(kernel, [ONE, TWO, THREE])
    make_uplink(here, "1")
    driver.ensure(kernel, [ONE], {})
    assert ours(ONE) == driver.observe(kernel, [ONE])
    assert {"eth1", "eth2"} == chains(here).keys()
    here.ip("link", "del", "eth1")
    driver.remove(kernel, [ONE, TWO])
    assert {"eth2"} == chains(here).keys()
    driver.remove(kernel, [THREE])
    assert "" == listed(here)


def test_a_table_of_somebody_else(kernel: Kernel, here: NetworkNamespace) -> None:
    """It is named and left alone."""
    driver = PrivateGuardDriver()
    here.run(["nft", "add", "table", "netdev", "jackfield-private"])
    assert Presence.FOREIGN is driver.observe(kernel, [ONE])[ONE.key].presence
    with pytest.raises(ForeignObject, match="table netdev jackfield-private"):
        driver.ensure(kernel, [ONE], {})
    driver.remove(kernel, [ONE])
    assert "table netdev jackfield-private { }" == listed(here)


def test_a_kernel_without_the_family(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the mode promises could not be kept, so nobody is let in."""
    monkeypatch.setattr(private, "has_family", lambda _: False)
    with pytest.raises(MissingFeature, match="eth1") as raised:
        PrivateGuardDriver().refuse_impossible(kernel, [ONE])
    assert "CONFIG_NF_TABLES_NETDEV" in (raised.value.hint or "")


def test_who_hears_whom(kernel: Kernel, here: NetworkNamespace) -> None:
    """Of a guest's frames that come in, only the host hears those that are for the host."""
    macs = {1: str(ONE.mac), 2: str(TWO.mac), 3: str(THREE.mac)}
    for number, uplink in ((1, "eth1"), (2, "eth1"), (3, "eth2")):
        kind = ("type", "macvlan", "mode", "private")
        name = f"guest{number}"
        here.ip("link", "add", name, "link", uplink, "address", macs[number], "up", *kind)
    PrivateGuardDriver().ensure(kernel, [ONE, TWO, THREE], {})
    (link,) = here.ip("link", "show", "eth1")
    host = str(link["address"])
    stranger = "52:54:00:00:00:99"
    heard = {name: listener(here, name) for name in ("guest1", "guest3", "eth1")}
    for wire, source, target in (
        ("wire1", macs[2], macs[1]),  # sent back by the switch
        ("wire1", macs[3], macs[1]),  # from over the other NIC
        ("wire1", macs[3], "ff:ff:ff:ff:ff:ff"),
        ("wire2", macs[1], macs[3]),
        ("wire2", macs[1], "33:33:00:00:00:01"),
        ("wire1", macs[2], host),
        # All of these come through, and tell that the others have had their time.
        ("wire1", stranger, macs[1]),
        ("wire2", stranger, macs[3]),
        ("wire1", stranger, host),
    ):
        with here.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind((wire, 0))
            sender.send(frame(source, KIND, b"hello", target=target))
    assert [stranger] == sources(heard["guest1"], stranger)
    assert [stranger] == sources(heard["guest3"], stranger)
    assert macs[2] in sources(heard["eth1"], stranger)
    counted = re.findall(r"counter packets (\d+)", listed(here))
    assert ["3", "2"] == counted


def listener(here: NetworkNamespace, name: str) -> socket.socket:
    """Return a socket that hears what comes in by a device."""
    found = here.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(KIND))
    found.bind((name, KIND))
    return found


def sources(heard: socket.socket, last: str) -> list[str]:
    """Return who was heard up to the frame from ``last``, and close."""
    found: list[str] = []
    with heard:
        heard.settimeout(5)
        while not found or found[-1] != last:
            found.append(heard.recv(2000)[6:12].hex(":"))
    return found
