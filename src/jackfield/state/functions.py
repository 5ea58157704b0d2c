"""Virtual functions of SR-IOV cards: somebody else's, set for a port and put back after it."""

from __future__ import annotations

import dataclasses
import enum
from typing import ClassVar

from jackfield.model.uplink import PciAddress
from jackfield.model.values import InterfaceName
from jackfield.state.links import Standing

__all__ = ["FunctionAspect", "FunctionCount", "FunctionPlace", "FunctionSetting"]


class FunctionAspect(enum.Enum):
    """What of a virtual function is set, in the order in which it is put back.

    ``MAC``, ``VLAN`` (``ID PRIORITY`` and, where it is not 802.1Q, the protocol),
    ``SPOOF_CHECK``, ``TRUST`` (``on`` or ``off``) and ``RATE`` (``LEAST MOST`` in Mbit/s, 0 for
    none) are set through the physical function.  ``DRIVER`` is the one that it is bound to (empty
    for none), ``OVERRIDE`` the only one that the kernel may bind it to; ``OWN_MAC`` is the address
    of its interface, while it has one here.
    """

    OVERRIDE = "override"
    MAC = "mac"
    VLAN = "vlan"
    SPOOF_CHECK = "spoof-check"
    TRUST = "trust"
    RATE = "rate"
    DRIVER = "driver"
    OWN_MAC = "own-mac"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FunctionPlace:
    """A virtual function where a port found it: its physical function, and its ``driver`` then.

    ``count`` is how many functions the physical one had.
    """

    address: PciAddress
    physical: InterfaceName
    driver: str | None = None
    count: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class FunctionSetting(Standing):
    """An aspect of the virtual function at ``address``, which is not ours.

    Always shared, as a ``LinkSetting`` is: recorded before it is set, and put back.
    """

    kind: ClassVar[str] = "function-setting"
    shared: ClassVar[bool] = True
    address: PciAddress
    aspect: FunctionAspect
    value: str

    @property
    def name(self) -> str:
        """What it is called in the record of shared settings."""
        return f"{self.address} {self.aspect.value}"

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"function-setting:{self.name}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FunctionCount(Standing):
    """How many virtual functions the physical function ``link`` has, at least: ``value``.

    Always shared; it is put back to fewer only when nobody uses any of them.
    """

    kind: ClassVar[str] = "function-count"
    shared: ClassVar[bool] = True
    link: InterfaceName
    value: str

    @property
    def name(self) -> str:
        """What it is called in the record of shared settings."""
        return f"{self.link} functions"

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"function-count:{self.link}"
