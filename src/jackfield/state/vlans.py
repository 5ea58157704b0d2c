"""VLANs of managed bridges: that one filters them, and which of them its uplink carries.

Both have several users, the network and its ports, so they are shared settings: set for the first
one, and put back when the last one goes.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import ClassVar

from jackfield.model.values import InterfaceName
from jackfield.state.links import Standing

__all__ = ["OFF", "ON", "Membership", "UplinkVlan", "VlanFiltering", "vlan_setting"]

OFF = "off"
ON = "on"
_FILTERING = "vlan-filtering"
_VLAN = "vlan-"


class Membership(enum.Enum):
    """Whether a bridge's port is in a VLAN, and how: as ``bridge vlan`` tells it.

    ``NATIVE`` is where untagged frames that come in belong (``PVID``); frames of a VLAN that is
    ``UNTAGGED`` leave without a tag.
    """

    NONE = "none"
    TAGGED = "tagged"
    UNTAGGED = "untagged"
    NATIVE = "native"
    NATIVE_UNTAGGED = "native-untagged"


@dataclasses.dataclass(frozen=True, kw_only=True)
class VlanFiltering(Standing):
    """Whether the bridge ``link``, which is ours, keeps VLANs apart: ``on`` or ``off``."""

    kind: ClassVar[str] = "vlan-filtering"
    shared: ClassVar[bool] = True
    link: InterfaceName
    value: str = ON

    @property
    def name(self) -> str:
        """What it is called in the record of shared settings."""
        return f"{self.link} {_FILTERING}"

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"vlan-filtering:{self.link}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class UplinkVlan(Standing):
    """Whether the uplink ``link`` carries a VLAN to and from its bridge, as a ``Membership``.

    An uplink that is no port of a bridge of ours carries none.
    """

    kind: ClassVar[str] = "uplink-vlan"
    shared: ClassVar[bool] = True
    link: InterfaceName
    vlan: int
    value: str = Membership.TAGGED.value

    @property
    def name(self) -> str:
        """What it is called in the record of shared settings."""
        return f"{self.link} {_VLAN}{self.vlan}"

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"uplink-vlan:{self.link}:{self.vlan}"


def vlan_setting(link: str, what: str, value: str) -> VlanFiltering | UplinkVlan | None:
    """Return the setting whose ``name`` is ``LINK WHAT``; ``None`` for one of another kind."""
    if what == _FILTERING:
        return VlanFiltering(link=InterfaceName(link), value=value)
    if what.startswith(_VLAN):
        return UplinkVlan(link=InterfaceName(link), vlan=int(what.removeprefix(_VLAN)), value=value)
    return None
