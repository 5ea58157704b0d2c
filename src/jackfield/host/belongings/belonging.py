"""What addresses, routes and neighbours have in common."""

from __future__ import annotations

import abc
import dataclasses
import ipaddress
from typing import ClassVar, Self

from jackfield.host.netlink.message import Message

__all__ = ["Belonging", "Place", "ip_text"]


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A link: its index, and its name, which labels of its addresses begin with."""

    index: int
    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Belonging(abc.ABC):
    """One thing that hangs on the link ``place``; ``body`` is the kernel's message about it.

    The message is kept as it came, so that every property goes along: lifetimes, metrics, tables,
    protocols, preferred sources, next hops.
    """

    kind: ClassVar[str]

    place: Place
    body: bytes

    @property
    def family(self) -> int:
        """The address family (``AF_INET`` or ``AF_INET6``)."""
        return self.body[0]

    @property
    @abc.abstractmethod
    def identity(self) -> tuple[object, ...]:
        """What tells it from others of the same link, whatever the link."""

    @property
    @abc.abstractmethod
    def text(self) -> str:
        """What it is, for people: ``address 192.0.2.1/24``."""

    @abc.abstractmethod
    def placed(self, target: Place) -> list[Message]:
        """Return what hangs the same on ``target``."""

    @abc.abstractmethod
    def removed(self) -> list[Message]:
        """Return what takes it off its link."""

    def aged(self, seconds: int) -> Self | None:
        """Return what is left of it after ``seconds``; ``None`` when its lifetime is over."""
        return self


def ip_text(packed: bytes) -> str:
    """Return an address of 4 or 16 bytes as text."""
    return str(ipaddress.ip_address(packed))
