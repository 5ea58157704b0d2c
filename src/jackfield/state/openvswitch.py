"""Rows of Open vSwitch's database that are ours, marked as links are by an alias."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from jackfield.model.bandwidth import Rate
from jackfield.model.values import InterfaceName
from jackfield.state.links import Standing

__all__ = ["AnyRow", "OvsBridge", "OvsPort", "OvsVlan"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OvsBridge(Standing):
    """A bridge of Open vSwitch that we make; it has the MAC of its ``uplink``.

    Which datapath it has is the host's choice: the kernel's, or the one in user space.
    """

    kind: ClassVar[str] = "ovs-bridge"
    name: InterfaceName
    alias: str
    uplink: InterfaceName | None = None

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"ovs-bridge:{self.name}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OvsVlan:
    """The VLANs of a port: ``mode``, ``tag`` and ``trunks`` as the table Port spells them.

    ``mode`` is access, trunk, native-tagged or native-untagged; ``trunks`` are in order.
    """

    mode: str
    tag: int | None = None
    trunks: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class OvsPort(Standing):
    """``link`` is a port of the Open vSwitch bridge ``bridge``, and is up.

    It is a row, which does not go away with the link.  ``identity`` are the ``external_ids`` of
    its interface, by which controllers know whose port it is, in the order of their keys.
    ``inbound`` is what it may get, ``outbound`` what it may send, in KiB as in ``Rate``.

    ``guest_netns`` and ``guest_ifname`` are the guest's end of a veth.  ``up``, ``guarded`` and
    ``plugged`` are false only on what was observed: with a datapath in user space the host's own
    stack must not see what comes in, or it would answer; and a device that comes in another's
    place is not noticed there, so that nothing passes by it until its row is made anew.
    """

    kind: ClassVar[str] = "ovs-port"
    link: InterfaceName
    bridge: InterfaceName
    alias: str
    identity: tuple[tuple[str, str], ...] = ()
    vlan: OvsVlan | None = None
    inbound: Rate | None = None
    outbound: Rate | None = None
    guest_netns: str | None = None
    guest_ifname: InterfaceName | None = None
    up: bool = True
    guarded: bool = True
    plugged: bool = True

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"ovs-port:{self.link}"


AnyRow = OvsBridge | OvsPort
"""What is found by a name in the database, and stays there whatever becomes of the device."""
