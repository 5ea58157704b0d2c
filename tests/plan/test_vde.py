"""The switch of a network, from its definition and the bridge that there is."""

from __future__ import annotations

from uuid import UUID

import msgspec
import pytest

from jackfield.errors import UnsupportedConfiguration, WrongState
from jackfield.model.mode import Mode
from jackfield.model.network import Bridge, Network, Vde
from jackfield.model.values import InterfaceName, MacAddress, NetworkName, Text
from jackfield.plan.network import check_host, plan_network
from jackfield.state.facts import Facts, LinkFact
from jackfield.state.hoststate import removal_order
from jackfield.state.links import TapLink
from jackfield.state.resources import BridgePort
from jackfield.state.services import VdeSwitch
from jackfield.state.settings import Setting

RED = UUID("5d1f1a3e-6c1c-4d8e-9d0b-1a2b3c4d5e6f")
TAP = InterfaceName("jfv5d1f1a3e6c")
BRIDGED = Network(
    name=NetworkName("red"),
    uuid=RED,
    mode=Mode.BRIDGE,
    bridge=Bridge(name=InterfaceName("br0")),
    vde=Vde(group=Text("kvm")),
)
SWITCH = [
    TapLink(
        name=TAP,
        alias=f"jackfield:network:{RED}",
        mac=MacAddress("fe:5d:1f:1a:3e:6c"),
        owner=103,
    ),
    Setting(name=f"net/ipv6/conf/{TAP}/disable_ipv6", value="1", link=TAP),
    VdeSwitch(network=RED, tap=TAP, group=Text("kvm"), user=103),
    BridgePort(link=TAP, bridge=InterfaceName("br0")),
]


def test_a_bridge_of_somebody_elses_gets_a_tap_and_a_switch() -> None:
    """And nothing else: the bridge is not ours.  They are always the same."""
    assert SWITCH == list(plan_network(BRIDGED, vde_user=103).values())
    without = msgspec.structs.replace(BRIDGED, vde=None)
    assert [] == list(plan_network(without, vde_user=103).values())


@pytest.mark.parametrize("mode", [Mode.ISOLATED, Mode.NAT, Mode.ROUTE, Mode.OPEN])
def test_a_bridge_of_ours_gets_them_as_well(mode: Mode) -> None:
    """They are what is different from the same network without a switch."""
    network = msgspec.structs.replace(BRIDGED, mode=mode)
    plain = plan_network(msgspec.structs.replace(network, vde=None))

    planned = plan_network(network, vde_user=103)

    assert SWITCH == [item for key, item in planned.items() if key not in plain]
    assert set(plain) < set(planned)


def test_a_switch_ends_before_its_tap_goes() -> None:
    """It would go on without, and not know."""
    kinds = [item.kind for item in removal_order(plan_network(BRIDGED, vde_user=103).values())]
    assert kinds.index("vde-switch") < kinds.index("tap")


def test_longer_frames_than_a_switch_carries_are_refused() -> None:
    """They would be cut off."""
    network = msgspec.structs.replace(BRIDGED, mode=Mode.NAT, mtu=1501)
    with pytest.raises(UnsupportedConfiguration, match=r"MTU of 1501 and a <vde>.* 1500 bytes"):
        plan_network(network)
    (tap,) = [
        item
        for item in plan_network(msgspec.structs.replace(network, mtu=1400)).values()
        if isinstance(item, TapLink)
    ]
    assert 1400 == tap.mtu


@pytest.mark.parametrize(
    ("link", "error", "message"),
    [
        (None, WrongState, "no bridge for its <vde>"),
        (LinkFact(index=2, name="br0", kind="veth"), WrongState, "no bridge for its <vde>"),
        (
            LinkFact(index=2, name="br0", kind="bridge", mtu=9000),
            UnsupportedConfiguration,
            "bridge br0 has an MTU of 9000",
        ),
    ],
)
def test_a_bridge_that_cannot_have_a_switch(
    link: LinkFact | None, error: type[Exception], message: str
) -> None:
    """A missing one, something else, and one whose frames the tap would make shorter."""
    facts = Facts(links={} if link is None else {"br0": link})
    with pytest.raises(error, match=message):
        check_host(BRIDGED, facts)
    without = msgspec.structs.replace(BRIDGED, vde=None)
    if link is None or link.kind == "bridge":
        check_host(without, facts)
    else:
        with pytest.raises(WrongState, match="needs a Linux bridge, and br0 is"):
            check_host(without, facts)


def test_a_bridge_that_can() -> None:
    """Of the usual MTU, or less."""
    for mtu in (1500, 1400):
        link = LinkFact(index=2, name="br0", kind="bridge", mtu=mtu)
        check_host(BRIDGED, Facts(links={"br0": link}))
