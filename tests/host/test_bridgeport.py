"""Forwarding entries and VLANs of bridges' ports as messages; ``bridge`` is the witness."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from jackfield.host.netlink.bridgeport import (
    PortVlan,
    add_vlans,
    decode_vlans,
    delete_vlans,
    vlans_of,
    vlans_to_model,
)
from jackfield.host.netlink.message import Message
from jackfield.model.vlan import NativeMode, Vlan, VlanTag
from tests.lab.namespace import NetworkNamespace

ACCESS = Vlan(tags=(VlanTag(id=42),))
TRUNK = Vlan(tags=(VlanTag(id=42), VlanTag(id=43)), trunk=True)
NATIVE = Vlan(tags=(VlanTag(id=42), VlanTag(id=7, native_mode=NativeMode.UNTAGGED)), trunk=True)
TAGGED = Vlan(tags=(VlanTag(id=7, native_mode=NativeMode.TAGGED),), trunk=True)


@pytest.mark.parametrize(
    ("vlan", "found"),
    [
        (ACCESS, {PortVlan(42, native=True, untagged=True)}),
        (TRUNK, {PortVlan(42), PortVlan(43)}),
        (NATIVE, {PortVlan(42), PortVlan(7, native=True, untagged=True)}),
        (TAGGED, {PortVlan(7, native=True)}),
        (Vlan(tags=(VlanTag(id=42),), trunk=True), {PortVlan(42)}),
    ],
)
def test_what_a_setting_means(vlan: Vlan, found: set[PortVlan]) -> None:
    """Tags and native modes become a port's VLANs, and back."""
    assert found == vlans_of(vlan)
    back = vlans_to_model(found)
    assert back is not None
    assert vlans_of(back) == vlans_of(vlan)


def test_a_port_in_no_vlan_has_no_setting() -> None:
    """Only what is in a VLAN can be said in words of the document."""
    assert vlans_to_model([]) is None


def test_what_the_kernel_lists_is_read() -> None:
    """The kernel lists a port's VLANs as we send them, all in one message."""
    vlans = sorted(vlans_of(NATIVE))
    bodies = [message.body for message in add_vlans(5, vlans, "")]
    together = bodies[0] + b"".join(body[16:] for body in bodies[1:])
    # Two attributes of one kind are not merged: the kernel sends one that holds both.
    assert (5, frozenset(vlans[:1])) == decode_vlans(bodies[0])
    assert 5 == decode_vlans(together)[0]


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "add dev v0 vid 42 pvid untagged",
            lambda index: add_vlans(index, [PortVlan(42, native=True, untagged=True)], "")[0],
        ),
        ("add dev v0 vid 7", lambda index: add_vlans(index, [PortVlan(7)], "")[0]),
        ("del dev v0 vid 1", lambda index: delete_vlans(index, [1], "")[0]),
    ],
)
def test_messages_are_what_bridge_sends(
    here: NetworkNamespace, words: str, message: Callable[[int], Message]
) -> None:
    """Our requests are those of bridge(8), but for the flag of nested attributes."""
    here.ip("link", "add", "br0", "type", "bridge")
    here.ip("link", "add", "v0", "master", "br0", "type", "veth", "peer", "name", "v1")
    command = ["strace", "-e", "trace=sendmsg", "-e", "write=3", "bridge", "vlan", *words.split()]
    dump = here.run(command, check=False).stderr
    lines = re.findall(r"^ \| [0-9a-f]{5}  ((?:[0-9a-f]{2} +)+)", dump, re.MULTILINE)
    sent = bytes.fromhex("".join(lines))
    link = here.link("v0")
    assert link is not None
    ours = message(link["ifindex"])
    assert ours.type == int.from_bytes(sent[4:6], "little")
    body = bytearray(ours.body)
    body[19] &= 0x7F
    assert bytes(body) == sent[16:]
