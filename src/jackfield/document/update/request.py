"""What a partial update asks for: a section of the document, what to do there, and an entry."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import NoReturn, TypeVar

from jackfield.document.xml import Element
from jackfield.errors import Conflict, UnsupportedOperation
from jackfield.model.network import Network
from jackfield.model.uplink import Uplink

__all__ = ["Command", "Section", "Update"]

Item = TypeVar("Item")


class Command(enum.IntEnum):
    """What to do, with libvirt's numbers (``virNetworkUpdateCommand``)."""

    MODIFY = 1
    DELETE = 2
    ADD_LAST = 3
    ADD_FIRST = 4

    @property
    def adds(self) -> bool:
        """Whether an entry is added."""
        return self in (Command.ADD_LAST, Command.ADD_FIRST)


class Section(enum.IntEnum):
    """What is updated, with libvirt's numbers (``virNetworkUpdateSection``)."""

    BRIDGE = 1
    DOMAIN = 2
    IP = 3
    IP_DHCP_HOST = 4
    IP_DHCP_RANGE = 5
    FORWARD = 6
    FORWARD_INTERFACE = 7
    FORWARD_PF = 8
    PORTGROUP = 9
    DNS_HOST = 10
    DNS_TXT = 11
    DNS_SRV = 12

    @property
    def title(self) -> str:
        """The section as ``virsh net-update`` spells it."""
        return self.name.lower().replace("_", "-")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One request: the network, what to do with it, and the fragment."""

    network: Network
    command: Command
    parent_index: int
    element: Element
    in_use: Mapping[Uplink, int]

    def refuse(
        self,
        reason: str,
        *,
        hint: str | None = None,
        libvirt: str | None = None,
        code: int | None = None,
    ) -> NoReturn:
        """Raise that the state forbids it; ``libvirt`` and ``code`` are libvirt's for the same."""
        error = Conflict(f"network '{self.network.name}': {reason}", hint=hint)
        raise error if libvirt is None else error.in_libvirt(libvirt, code=code)

    def unsupported(self, what: str, libvirt: str) -> NoReturn:
        """Raise that ``what``, in libvirt's words ``libvirt``, is only added and removed."""
        told = "cannot be modified, only added or deleted"
        raise UnsupportedOperation(f"network '{self.network.name}': {what} {told}").in_libvirt(
            f"{libvirt} {told}"
        )

    def added(self, items: tuple[Item, ...], item: Item) -> tuple[Item, ...]:
        """Return ``items`` with ``item`` first or last."""
        return (item, *items) if self.command is Command.ADD_FIRST else (*items, item)
