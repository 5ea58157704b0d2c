"""What lldpad is asked, as bytes; which NIC it is asked about; and the driver, with a real one."""

from __future__ import annotations

import contextlib
import dataclasses
import struct
from pathlib import Path
from typing import cast
from uuid import UUID

import pytest

from jackfield.errors import HostError, MissingFeature, NotFound
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.link import Link
from jackfield.host.netlink.message import attribute, nested
from jackfield.host.netlink.route import RouteSocket
from jackfield.host.vdp.driver import SwitchAssociationDriver
from jackfield.host.vdp.lldpad import Lldpad, find_station, knows
from jackfield.host.vdp.message import (
    Request,
    Shown,
    Station,
    ask,
    describe_response,
    read,
    tell,
)
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.association import SwitchAssociation
from tests.lab import lldpad as programs
from tests.lab.host import Host
from tests.lab.switch import Lan
from tests.lab.vdpswitch import VdpSwitch
from tests.lab.wait import wait_for

INSTANCE = UUID("fa9b7fff-b0a0-4893-8e0e-beef4ff18f8f")
ITEM = SwitchAssociation(
    link=InterfaceName("eth1"),
    mac=MacAddress("52:54:00:00:0a:01"),
    instance=INSTANCE,
    manager=11,
    type_id=0x123456,
    type_version=2,
)
STATION = Station(index=7, name="eth1", vlan=42)


def hexadecimal(text: str) -> bytes:
    """Return bytes written in groups, with remarks after ``#``, for a little-endian machine."""
    return bytes.fromhex("".join(line.partition("#")[0] for line in text.splitlines()))


@pytest.mark.parametrize(
    ("request_", "number"), [(Request.ASSOCIATE, 2), (Request.DISASSOCIATE, 3)]
)
def test_request_as_bytes(request_: Request, number: int) -> None:
    """The message is laid out as linux/if_link.h has it for VFs; lldpad reads no other form."""
    message = tell(STATION, ITEM, request_)
    assert 19 == message.type  # RTM_SETLINK
    wanted = f"""
        00 00 0000 07000000 00000000 00000000   # ifinfomsg: the uplink's index
        0900 0300 65746831 00 000000             # IFLA_IFNAME eth1
        4000 1680                                # IFLA_VFINFO_LIST
          3c00 0180                              # IFLA_VF_INFO
            2800 0100 ffffffff 525400000a01 {"00" * 26}
            1000 0200 ffffffff 2a000000 00000000 # IFLA_VF_VLAN 42
        3800 1880                                # IFLA_VF_PORTS
          3400 0180                              # IFLA_VF_PORT
            0c00 0300 0b 563412 02 000000        # manager, type (little-endian), version
            1400 0400 {INSTANCE.hex}
            0800 0100 ffffffff                   # IFLA_PORT_VF: the port itself
            0500 0600 0{number} 000000           # IFLA_PORT_REQUEST
    """
    assert hexadecimal(wanted).hex(" ") == message.body.hex(" ")


def answer(*ports: tuple[UUID, int | None]) -> bytes:
    """Return what lldpad answers about VSI instances."""
    entries = [
        nested(
            1,
            attribute(4, instance.bytes),
            *([] if response is None else [attribute(7, struct.pack("=H", response))]),
        )
        for instance, response in ports
    ]
    return struct.pack("=BxHiII", 0, 0, 7, 0, 0) + nested(24, *entries)


def test_answers() -> None:
    """Each instance has its response, or none yet; a full answer tells nothing of the rest."""
    other, third = UUID(int=1), UUID(int=2)
    shown = read(answer((INSTANCE, 0), (other, None)))
    assert {INSTANCE: 0, other: None} == shown.responses
    assert (False, True) == (shown.lacks(other), shown.lacks(third))
    assert {} == read(answer()).responses
    full = read(answer(*((UUID(int=number + 100), 0) for number in range(92))))
    assert not full.lacks(third)
    assert 18 == ask(STATION).type  # RTM_GETLINK


def test_refusals_in_words() -> None:
    """What the switch says is said, with its number."""
    assert "insufficient resources (response 2)" == describe_response(2)
    assert "(response 77)" in describe_response(77)


def test_what_is_known() -> None:
    """A refusal is shown once, and one answer may leave out what the next one shows."""
    there, none = Shown(responses={INSTANCE: 5}), Shown(responses={})
    for looks, wanted in (
        ([there, none, none, none], False),
        ([none, none, there, none], True),
        ([none, Shown(responses={}, whole=False), none, none], True),
    ):
        shown = iter(looks)
        assert wanted == knows(lambda shown=shown: next(shown), INSTANCE)  # type: ignore[misc]


class _Links:
    """Links without a kernel, where rtnetlink is asked for them."""

    def __init__(self, *links: Link) -> None:
        self._links = {link.name: link for link in links}

    def link(self, name: str) -> Link | None:
        return self._links.get(name)

    def links(self) -> dict[str, Link]:
        return self._links


def link(index: int, name: str, kind: str = "", lower: int | None = None, vlan: int = 0) -> Link:
    """Return a link as the kernel tells it; ``vlan`` is the tag of a VLAN device."""
    data = attribute(1, struct.pack("=H", vlan)) if vlan else b""
    return Link(
        *(index, name, 1, kind, b"", 1500, None, "", lower, None, True, data, b""),
    )


def test_which_nic_faces_the_switch() -> None:
    """It is the one below VLAN devices, and the first of them says the tag, as with libvirt."""
    links = _Links(
        link(1, "eth1"),
        link(2, "eth1.42", "vlan", 1, 42),
        link(3, "inner", "vlan", 2, 7),
        link(4, "bond0", "bond"),
        link(5, "loop", "vlan", 5, 1),
    )
    route = cast(RouteSocket, links)
    for name, wanted in (
        ("eth1", Station(index=1, name="eth1")),
        ("eth1.42", Station(index=1, name="eth1", vlan=42)),
        ("inner", Station(index=1, name="eth1", vlan=7)),
        ("bond0", Station(index=4, name="bond0")),
    ):
        assert wanted == find_station(route, InterfaceName(name))
    with pytest.raises(NotFound, match="eth9"):
        find_station(route, InterfaceName("eth9"))
    with pytest.raises(HostError, match="on each other"):
        find_station(route, InterfaceName("loop"))


@pytest.mark.kernel
def test_driver(host: Host, lan: Lan, tmp_path: Path) -> None:
    """What is ensured is ours when the switch has said so, and absent when it is removed."""
    reason = programs.skip_reason()
    if reason is not None:
        pytest.skip(reason)
    port = lan.plug(host, "eth1")
    with (
        VdpSwitch(lan.namespace, port) as switch,
        programs.Lldpad(host, "eth1") as program,
        host.entered(),
        contextlib.closing(Kernel.open(tmp_path)) as kernel,
    ):
        driver = SwitchAssociationDriver(Lldpad(program.pid_file))

        def ensured() -> bool:
            try:
                driver.ensure(kernel, [ITEM], {})
            except HostError:
                return False
            return True

        wait_for(ensured, 10, "lldpad and the switch to find each other")
        ours = Observed(presence=Presence.OURS, resource=ITEM)
        wait_for(lambda: {ITEM.key: ours} == driver.observe(kernel, [ITEM]), 5, "the switch")
        assert {INSTANCE} == switch.associated.keys()
        driver.ensure(kernel, [ITEM], {})
        assert {ITEM.key: ours} == driver.observe(kernel, [ITEM])

        gone = dataclasses.replace(ITEM, link=InterfaceName("eth9"))
        driver.remove(kernel, [gone, ITEM])
        assert {} == switch.associated
        assert {ITEM.key: ABSENT} == driver.observe(kernel, [ITEM])
        asked = len(switch.requests)
        driver.remove(kernel, [ITEM])
        assert asked == len(switch.requests)

        program.stop()
        assert {ITEM.key: ABSENT} == driver.observe(kernel, [ITEM])
        driver.remove(kernel, [ITEM])
        with pytest.raises(MissingFeature, match="does not run"):
            driver.ensure(kernel, [ITEM], {})
