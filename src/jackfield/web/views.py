"""The engine's views as JSON: what every client, the command line included, is shown.

Addresses, uuids and names are strings, times are seconds since the epoch.  What does not apply
is ``null``, except inside the model's own documents and ports, which leave it out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from jackfield.diagnosis.finding import Examination, Likelihood
from jackfield.document.json import network_to_builtins, port_to_builtins
from jackfield.engine.views import Event, LeaseView, NetworkView, PortView
from jackfield.errors import JackfieldError
from jackfield.state.plan import PlanStep

__all__ = [
    "encode",
    "encode_list",
    "error_json",
    "event_json",
    "examination_json",
    "lease_json",
    "network_json",
    "port_json",
    "step_json",
    "summary_json",
]

Json = dict[str, Any]
T = TypeVar("T")

_CHUNK = 200


def encode(value: object) -> bytes:
    """Return ``value`` as JSON; what JSON has no form for is written as text."""
    return msgspec.json.encode(value, enc_hook=str)


async def encode_list(items: Sequence[T], convert: Callable[[T], Json]) -> bytes:
    """Return a JSON array of ``items``, letting the loop run in between: there may be many."""
    parts = []
    for start in range(0, len(items), _CHUNK):
        chunk = encode([convert(item) for item in items[start : start + _CHUNK]])
        parts.append(chunk[1:-1])
        await asyncio.sleep(0)
    return b"[" + b",".join(parts) + b"]"


def summary_json(view: NetworkView) -> Json:
    """Return a network without its documents."""
    network = view.current
    return {
        "name": view.name,
        "uuid": view.uuid,
        "active": view.active,
        "persistent": view.persistent,
        "autostart": view.autostart,
        "mode": network.mode.value,
        "bridge": None if network.bridge is None else network.bridge.name,
        "addresses": network.interfaces,
        "ports": view.ports,
        "problem": view.problem,
    }


def network_json(view: NetworkView) -> Json:
    """Return a network with its documents: ``stored`` is the definition, ``live`` what runs."""
    stored = None if view.stored is None else network_to_builtins(view.stored)
    if view.live is view.stored:
        live = stored
    else:
        live = None if view.live is None else network_to_builtins(view.live)
    return {**summary_json(view), "stored": stored, "live": live}


def port_json(view: PortView) -> Json:
    """Return a port: the model's fields, and where it is on this host."""
    return {
        "network": view.network,
        "network_uuid": view.network_uuid,
        "realiser": view.realiser,
        "device": view.device,
        "netns": view.netns,
        "ifname": view.ifname,
        "node": view.node,
        "holder": view.holder,
        "problem": view.problem,
        **port_to_builtins(view.port),
    }


def lease_json(lease: LeaseView) -> Json:
    """Return a DHCP lease."""
    return {
        "network": lease.network,
        "device": lease.device,
        "mac": lease.mac,
        "address": lease.address,
        "prefix": lease.prefix,
        "expires": lease.expires,
        "hostname": lease.hostname,
        "client_id": lease.client_id,
        "iaid": lease.iaid,
    }


def step_json(step: PlanStep) -> Json:
    """Return one step of a plan."""
    return {"action": step.action, "kind": step.kind, "key": step.key, "text": step.text}


def event_json(event: Event) -> Json:
    """Return an event."""
    return {
        "number": event.number,
        "time": event.time,
        "type": event.type,
        "network": event.network,
        "uuid": event.uuid,
        "detail": dict(event.detail),
    }


def error_json(error: JackfieldError) -> Json:
    """Return an error, in the one shape that errors have."""
    return {
        "error": {
            "name": error.name,
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
        }
    }


def examination_json(examination: Examination) -> Json:
    """Return what an examination has found; ``certain`` is false of what only may be."""
    return {
        "networks": examination.networks,
        "findings": [
            {
                "network": item.network,
                "certain": item.likelihood is not Likelihood.PERHAPS,
                "text": item.text,
                "hint": item.hint,
            }
            for item in examination.findings
        ],
        "notes": examination.notes,
    }
