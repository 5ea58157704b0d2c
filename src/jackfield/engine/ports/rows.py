"""Ports as the store keeps them, and as events tell of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from jackfield.document.json import port_from_json, port_to_json
from jackfield.engine.ports.device import (
    carrier_from_text,
    device_from_text,
    device_to_text,
    former_from_text,
    is_limited,
)
from jackfield.engine.ports.holders import Holder
from jackfield.engine.records import PortRecord
from jackfield.engine.store.rows import PortRow, Step
from jackfield.model.port import VdePlug

__all__ = ["load_port", "port_detail", "port_row"]


def port_row(port: PortRecord) -> PortRow:
    """Return a settled port as the store keeps it."""
    return PortRow(
        port.uuid,
        port.network,
        Step.SETTLED,
        port.realiser,
        port_to_json(port.port),
        device_to_text(port.device, port.carrier, limited=port.limited, former=port.former),
        _holder_to_text(port.holder),
    )


def load_port(row: PortRow) -> PortRecord:
    """Return the port that the store holds."""
    return PortRecord(
        uuid=row.uuid,
        network=row.network,
        port=port_from_json(row.document),
        realiser=row.realiser,
        device=device_from_text(row.device),
        carrier=carrier_from_text(row.device),
        limited=is_limited(row.device),
        former=former_from_text(row.device),
        holder=_holder_from_text(row.holder),
    )


def _holder_to_text(holder: Holder | None) -> str | None:
    return None if holder is None else json.dumps(dataclasses.asdict(holder))


def _holder_from_text(text: str | None) -> Holder | None:
    return None if text is None else Holder(**json.loads(text))


def port_detail(port: PortRecord) -> Mapping[str, str]:
    """Return what an event says of a port."""
    detail = {"port": str(port.uuid)}
    if port.port.mac is not None:
        detail["mac"] = port.port.mac
    if port.port.owner is not None:
        detail["owner"] = port.port.owner.name
    if port.device is not None and port.device.link is not None:
        detail["device"] = port.device.link
    if isinstance(port.port.plug, VdePlug):
        detail["vde"] = port.port.plug.path
    return detail
