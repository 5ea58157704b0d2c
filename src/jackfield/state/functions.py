"""Virtual functions of SR-IOV cards: somebody else's, set for a port and put back after it."""

from __future__ import annotations

import dataclasses
import enum
from typing import ClassVar

from jackfield.model.uplink import PciAddress
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.links import Standing

__all__ = [
    "EchoGuard",
    "FunctionAspect",
    "FunctionCount",
    "FunctionPlace",
    "FunctionSetting",
    "OwnAddress",
]


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

    ``count`` is how many functions the physical one had.  ``way`` is the port of the bridge by
    which frames of a port there leave: the function's interface, or a VLAN device over it;
    ``None`` for a port right on the function.
    """

    address: PciAddress
    physical: InterfaceName
    driver: str | None = None
    count: int = 1
    way: InterfaceName | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FunctionSetting(Standing):
    """An aspect of the virtual function at ``address``, which is not ours.

    Always shared, as a ``LinkSetting`` is: recorded before it is set, and put back.  What is
    ``optional`` is passed over where the card's driver has no such thing.
    """

    kind: ClassVar[str] = "function-setting"
    shared: ClassVar[bool] = True
    address: PciAddress
    aspect: FunctionAspect
    value: str
    optional: bool = dataclasses.field(default=False, compare=False)

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnAddress(Standing):
    """Whether ``link``, which is not ours, receives what is sent to ``mac``: ``on`` or ``off``.

    One of its unicast addresses beside its own (``dev_uc_add``, shown by ``bridge fdb show`` as
    ``self permanent``): a card sorts frames to its functions by address, and not every card lets
    one of them hear everything.  Always shared, as a ``LinkSetting`` is.
    """

    kind: ClassVar[str] = "own-address"
    shared: ClassVar[bool] = True
    link: InterfaceName
    mac: MacAddress
    value: str = "on"

    @property
    def name(self) -> str:
        """What it is called in the record of shared settings."""
        return f"{self.link} own {self.mac}"

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"own-address:{self.link}:{self.mac}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EchoGuard(Standing):
    """What the guest with the address ``mac`` sends does not come in again by ``link``.

    A card's own switch, or one that reflects, may send a broadcast back to the function that it
    came from; the bridge would take the guest to be there from then on.
    """

    kind: ClassVar[str] = "echo-guard"
    link: InterfaceName
    mac: MacAddress

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"echo-guard:{self.link}:{self.mac}"
