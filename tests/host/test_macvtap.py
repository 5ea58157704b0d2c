"""The driver of macvtaps, beyond what all links have in common."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
from pathlib import Path

import pytest

from jackfield.host.driver import Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.macvtap import MacvtapDriver
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.links import MacvtapLink
from tests.host.macvtaps import opened_macvtap
from tests.lab.namespace import NetworkNamespace
from tests.lab.wait import wait_for

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("wire")]

LINK = MacvtapLink(
    name=InterfaceName("mv0"),
    alias="jackfield:port:x",
    mac=MacAddress("52:54:00:00:00:07"),
    lower=InterfaceName("v0"),
    mode="bridge",
)
# Where a neighbour of fe80::5054:ff:fe00:7 asks for it (RFC 4291, 2.7.1, and RFC 2464, 7).
GROUPS = frozenset(f"3333ff00000{number}" for number in range(1, 9))
"""Groups of IPv6 addresses of which the host knows nothing."""
EVERYBODY = "ffffffffffff"


@pytest.mark.parametrize("trusted", [False, True])
def test_multicast_of_which_the_host_knows_nothing(
    kernel: Kernel, here: NetworkNamespace, there: NetworkNamespace, tmp_path: Path, trusted: bool
) -> None:
    """A macvtap's guest hears what is asked of its IPv6 address only with all multicast."""
    link = dataclasses.replace(LINK, all_multicast=trusted)
    own = {"525400000007", EVERYBODY}
    heard: set[str] = set()
    with opened_macvtap(kernel, here, tmp_path / "node", link) as descriptor:
        with there.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind(("e0", 0))
            for target in (*GROUPS, "5254000000ff", *sorted(own)):
                sender.send(bytes.fromhex(target + "525400000001") + b"\x88\xb5" + bytes(50))

        def heard_the_last() -> bool:
            with contextlib.suppress(BlockingIOError):
                while frame := os.read(descriptor, 2000):
                    heard.add(frame[:6].hex())
            return EVERYBODY in heard

        # What is for many is handed out later, in its order.
        wait_for(heard_the_last, 5, "the broadcast, which was sent last")
    assert own == heard - GROUPS
    # The kernel knows groups by eight bits of a hash, so it may take one for a group that is known.
    assert trusted is (GROUPS <= heard)


def test_all_multicast_is_changed_in_place(kernel: Kernel) -> None:
    """A flag that somebody took is seen and set again, on the same device."""
    driver, trusted = MacvtapDriver(), dataclasses.replace(LINK, all_multicast=True)
    driver.ensure(kernel, [LINK], {})
    index = kernel.route.index("mv0")
    assert (
        Observed(presence=Presence.OURS, resource=LINK)
        == driver.observe(kernel, [trusted])[trusted.key]
    )
    driver.ensure(kernel, [trusted], {LINK.key: LINK})
    assert trusted == driver.observe(kernel, [trusted])[trusted.key].resource
    driver.ensure(kernel, [LINK], {LINK.key: trusted})
    assert LINK == driver.observe(kernel, [LINK])[LINK.key].resource
    assert index == kernel.route.index("mv0")


def test_a_macvtap_is_never_made_anew(kernel: Kernel, here: NetworkNamespace) -> None:
    """Its mode is changed in place; what it is on has another name, and that is all."""
    driver, other = MacvtapDriver(), dataclasses.replace(LINK, mode="vepa")
    driver.ensure(kernel, [LINK], {})
    index = kernel.route.index("mv0")
    driver.ensure(kernel, [other], {LINK.key: LINK})
    assert other == driver.observe(kernel, [other])[LINK.key].resource
    here.ip("link", "set", "v0", "down")
    here.ip("link", "set", "v0", "name", "v1")
    found = driver.observe(kernel, [LINK])[LINK.key].resource
    assert isinstance(found, MacvtapLink)
    assert other == found
    assert found.lower not in ("v0", "v1")
    driver.ensure(kernel, [LINK], {LINK.key: found})
    assert LINK == driver.observe(kernel, [LINK])[LINK.key].resource
    assert index == kernel.route.index("mv0")
