"""Settings: sysctls, and what we set of links that are not ours.

Most have users besides us: ``SharedSetting`` is every kind of these, wherever it is described.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import ClassVar

from jackfield.model.uplink import PciAddress
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.functions import FunctionAspect, FunctionCount, FunctionSetting, OwnAddress
from jackfield.state.links import Standing
from jackfield.state.vlans import UplinkVlan, VlanFiltering, vlan_setting

__all__ = ["LinkAttribute", "LinkSetting", "Setting", "SharedSetting", "shared_setting"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """A sysctl, ``name`` as a path below ``/proc/sys`` (``net/ipv4/ip_forward``).

    With ``shared`` the host lived before us and has other users: the previous value is recorded
    and put back when the last of our users goes, unless somebody else changed it meanwhile.
    Otherwise the setting belongs to ``link``, which is ours, and goes with it.
    """

    kind: ClassVar[str] = "setting"
    name: str
    value: str
    shared: bool = False
    link: InterfaceName | None = None

    @property
    def carrier(self) -> str | None:
        """The key of the link that this goes away with, if there is one."""
        return None if self.link is None else f"link:{self.link}"

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"setting:{self.name}"


class LinkAttribute(enum.Enum):
    """What of somebody else's link we may have to set."""

    STATE = "state"
    ADDRESS = "address"
    MTU = "mtu"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinkSetting(Standing):
    """An attribute of ``link``, which is not ours.

    Its ``STATE`` (up or down), its ``ADDRESS``, or its ``MTU`` in bytes.

    Always shared, as a ``Setting`` may be: recorded before it is set, and put back.  With an
    ``index`` it is of the link that has that, whatever its name is now.
    """

    kind: ClassVar[str] = "link-setting"
    shared: ClassVar[bool] = True
    link: InterfaceName
    attribute: LinkAttribute
    value: str
    index: int | None = dataclasses.field(default=None, compare=False)

    @property
    def name(self) -> str:
        """What it is called in the record of shared settings; no path of a sysctl is like it."""
        return f"{self.link} {self.attribute.value}"

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"link-setting:{self.name}"


SharedSetting = (
    Setting
    | LinkSetting
    | FunctionSetting
    | FunctionCount
    | OwnAddress
    | VlanFiltering
    | UplinkVlan
)
"""What has users besides us, and a value that it had before us."""


def shared_setting(name: str, value: str) -> SharedSetting:
    """Return the shared setting of that ``name`` with this ``value``."""
    owner, space, what = name.partition(" ")
    if ":" in owner:
        # No link has a colon in its name.
        address = PciAddress(owner)
        return FunctionSetting(address=address, aspect=FunctionAspect(what), value=value)
    if what == "functions":
        return FunctionCount(link=InterfaceName(owner), value=value)
    vlans = vlan_setting(owner, what, value)
    if vlans is not None:
        return vlans
    if what.startswith("own "):
        mac = MacAddress(what.removeprefix("own "))
        return OwnAddress(link=InterfaceName(owner), mac=mac, value=value)
    if space:
        return LinkSetting(link=InterfaceName(owner), attribute=LinkAttribute(what), value=value)
    return Setting(name=name, value=value, shared=True)
