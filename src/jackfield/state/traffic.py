"""Limits of traffic: what leaves a link, what comes in by one, and what one guest is promised."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from jackfield.model.bandwidth import Rate
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.links import OnLink, Standing

__all__ = ["Guarantee", "Policing", "Shaping"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shaping(OnLink):
    """Traffic that leaves ``link`` is shaped to ``rate`` (htb); rates in KiB as in ``Rate``.

    ``divided`` makes the rate one of which parts can be guaranteed (``Guarantee``).
    ``checksum_dhcp`` asks for filled UDP checksums of DHCP replies where the kernel can
    (``act_csum``), for guests that drop packets with partial ones.
    """

    kind: ClassVar[str] = "shaping"
    rate: Rate | None = None
    divided: bool = False
    checksum_dhcp: bool = False

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"shaping:{self.link}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guarantee(OnLink):
    """Of the divided shaping of the bridge ``link``, the guest ``mac`` has ``floor`` for certain.

    It may use up to ``ceiling`` while others leave it; both in KiB/s.  ``number`` is the class,
    3 or more: 1 is the whole and 2 what the guests without a guarantee share.
    """

    kind: ClassVar[str] = "guarantee"
    number: int
    mac: MacAddress
    floor: int
    ceiling: int

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"guarantee:{self.link}:{self.number}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policing(Standing):
    """What comes in by ``link`` beyond ``rate`` is dropped; rates in KiB as in ``Rate``.

    It is a chain of rules, which does not go away with the link.
    """

    kind: ClassVar[str] = "policing"
    link: InterfaceName
    rate: Rate

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"policing:{self.link}"
