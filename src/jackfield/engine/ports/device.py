"""Which device a port of ours gets, and how the store keeps it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any
from uuid import UUID

from jackfield.engine.views import AttachRequest
from jackfield.errors import InvalidRequest
from jackfield.host.macvtap import node_directory
from jackfield.model.port import DirectPlug, HostdevPlug, Plug
from jackfield.model.uplink import PciAddress
from jackfield.model.values import InterfaceName
from jackfield.plan.port import PortDevice, device_name
from jackfield.state.functions import FunctionPlace

__all__ = [
    "carrier_from_text",
    "choose_device",
    "device_from_text",
    "device_to_text",
    "former_from_text",
    "is_limited",
]

_NETNS_DIR = Path("/run/netns")
_NETNS_NAME = re.compile(r"[^/\x00-\x1f]+")
_QUEUES = 256  # MAX_TAP_QUEUES in linux/if_tun.h
_HANDED_OVER = 253  # SCM_MAX_FD in net/scm.h


def choose_device(
    request: AttachRequest,
    uuid: UUID,
    plug: Plug | None,
    *,
    mtu: int | None,
    run_dir: Path,
    function: FunctionPlace | None,
) -> PortDevice | None:
    """Return the device of the port ``uuid``, which was allocated ``plug``; a VDE port has none.

    ``mtu`` is what its network has, ``function`` the virtual function that it is on.
    Raises ``InvalidRequest`` for what cannot be plugged in.
    """
    wishes = (request.netns is not None, request.tap is not None, request.handover, request.vde)
    if sum(wishes) != 1:
        raise InvalidRequest(
            "name a namespace or a tap, or ask for a descriptor or for VDE: one of them"
        )
    if isinstance(plug, HostdevPlug):
        if not request.handover:
            raise InvalidRequest(
                f"the PCI function {plug.address} goes to a virtual machine, and cannot be a tap "
                "or in a namespace",
                hint="jackfield run --nic network=…, or libvirt, starts one with it",
            )
        return PortDevice(name=device_name(uuid), function=function, passed_on=True)
    if request.vde:
        return None
    if request.netns is not None:
        return PortDevice(
            name=device_name(uuid),
            netns=str(_netns_path(request.netns)),
            ifname=request.ifname or InterfaceName("eth0"),
            mtu=mtu,
            function=function,
        )
    most = _HANDED_OVER if request.handover else _QUEUES
    if not 1 <= request.queues <= most:
        raise InvalidRequest(f"a tap has 1 to {most} queues, not {request.queues}")
    node = None
    if isinstance(plug, DirectPlug):
        node = str(node_directory(run_dir) / str(uuid))
    return PortDevice(
        name=request.tap or device_name(uuid),
        node=node,
        owner=request.owner,
        queues=request.queues,
        mtu=mtu,
        function=function,
    )


def device_to_text(
    device: PortDevice | None,
    carrier: FunctionPlace | None = None,
    *,
    limited: bool = False,
    former: Collection[str] = (),
) -> str | None:
    """Return a port's device as the store keeps it (JSON), and whether it is ``limited`` by itself.

    Of a client's, which nobody here knows, the virtual function that is its ``carrier``.  With
    either, which settings are those of a ``former`` definition.
    """
    kept = {"former": sorted(former)} if former else {}
    if device is None:
        if carrier is not None:
            return json.dumps({"carrier": _place_to_json(carrier), **kept})
        return json.dumps(kept) if kept else None
    return json.dumps(
        {
            **kept,
            "name": device.name,
            "netns": device.netns,
            "ifname": device.ifname,
            "node": device.node,
            "owner": device.owner,
            "queues": device.queues,
            "mtu": device.mtu,
            "function": _place_to_json(device.function),
            "passed_on": device.passed_on,
            "limited": limited,
        }
    )


def device_from_text(text: str | None) -> PortDevice | None:
    """Return a port's device from what the store kept."""
    if text is None:
        return None
    fields = json.loads(text)
    if "name" not in fields:
        return None
    return PortDevice(
        name=InterfaceName(fields["name"]),
        netns=fields["netns"],
        ifname=None if fields["ifname"] is None else InterfaceName(fields["ifname"]),
        node=fields.get("node"),
        owner=fields["owner"],
        queues=fields["queues"],
        mtu=fields["mtu"],
        function=_place_from_json(fields.get("function")),
        passed_on=fields.get("passed_on", False),
    )


def carrier_from_text(text: str | None) -> FunctionPlace | None:
    """Return the virtual function of a client's port from what the store kept."""
    return None if text is None else _place_from_json(json.loads(text).get("carrier"))


def is_limited(text: str | None) -> bool:
    """Return whether a port of ours has a bandwidth of its own, from what the store kept."""
    return text is not None and json.loads(text).get("limited", False) is True


def former_from_text(text: str | None) -> frozenset[str]:
    """Return which settings of a port are of a former definition, from what the store kept."""
    return frozenset() if text is None else frozenset(json.loads(text).get("former", ()))


def _place_to_json(place: FunctionPlace | None) -> dict[str, str | int | None] | None:
    if place is None:
        return None
    return {
        "address": str(place.address),
        "physical": place.physical,
        "driver": place.driver,
        "count": place.count,
        "way": place.way,
    }


def _place_from_json(fields: dict[str, Any] | None) -> FunctionPlace | None:
    if fields is None:
        return None
    return FunctionPlace(
        address=PciAddress(fields["address"]),
        physical=InterfaceName(fields["physical"]),
        driver=fields["driver"],
        count=fields["count"],
        way=None if fields.get("way") is None else InterfaceName(fields["way"]),
    )


def _netns_path(netns: str) -> Path:
    """Return the file of a namespace given by its ``ip netns`` name or by an absolute path."""
    path = Path(netns)
    if not path.is_absolute():
        if not _NETNS_NAME.fullmatch(netns) or netns in {".", ".."}:
            raise InvalidRequest(f"{netns!r} is not the name of a network namespace")
        path = _NETNS_DIR / netns
    if path.parts[1:3] in {("proc", "self"), ("proc", "thread-self")}:
        raise InvalidRequest(
            f"network namespace {netns!r} would be the daemon's own, not that of who asks",
            hint="name the process by its number: /proc/PID/ns/net",
        )
    try:
        path.stat()
    except OSError as error:
        raise InvalidRequest(
            f"network namespace {netns!r} cannot be used: {path}: {error.strerror}",
            hint=f"ip netns add {netns}",
        ) from error
    return path
