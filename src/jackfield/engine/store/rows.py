"""What the store keeps, a row at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any
from uuid import UUID

__all__ = ["EventRow", "LiveRow", "MemberRow", "NetworkRow", "PortRow", "SettingRow", "Step"]


class Step:
    """What is being done to a network or a port; ``SETTLED`` when nothing is.

    A network whose stop has failed on the way is ``HALTED``: nothing is done until somebody asks.
    """

    SETTLED = "settled"
    STARTING = "starting"
    CHANGING = "changing"
    STOPPING = "stopping"
    HALTED = "halted"


@dataclasses.dataclass(frozen=True, slots=True)
class NetworkRow:
    """A stored definition; ``document`` is its JSON."""

    uuid: UUID
    name: str
    autostart: bool
    document: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class LiveRow:
    """A running network; ``previous`` is what ran before an open change, or why it is halted."""

    uuid: UUID
    step: str
    document: bytes
    previous: bytes | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class PortRow:
    """A port; ``device`` is the JSON of its device when we made it, ``holder`` of its keeper."""

    uuid: UUID
    network: UUID
    step: str
    realiser: str
    document: bytes
    device: str | None
    holder: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class MemberRow:
    """A link that was a port of a stopped network's bridge: name, index and what it was there.

    Rows of older daemons do not say which ``bridge``: there was only one.
    """

    network: UUID
    name: str
    link: int
    flags: Mapping[str, Any]
    bridge: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SettingRow:
    """A shared setting: its value before us, and ours; of what is a link's, that one's index."""

    previous: str
    ours: str
    link: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class EventRow:
    """An event that has its number already."""

    number: int
    time: float
    type: str
    network: str
    uuid: UUID
    detail: Mapping[str, str]
