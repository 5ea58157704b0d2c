"""A port as rows of the tables Port, Interface, QoS and Queue, and back.

The columns are those of ovs-vswitchd.conf.db(5); what goes into the ``external_ids`` of an
interface, and how a bandwidth is written, is what libvirt does (``virnetdevopenvswitch.c``), so
that whatever reads libvirt's ports reads ours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from jackfield.host.openvswitch.values import Row, as_map, as_set, named, of_map, of_set
from jackfield.model.bandwidth import Rate
from jackfield.state.openvswitch import OvsPort, OvsVlan

__all__ = [
    "IDENTITY_KEYS",
    "MARK",
    "STATE",
    "Names",
    "insert_rows",
    "interface_columns",
    "mark_of",
    "marks",
    "port_columns",
    "qos_rows",
    "rate_of",
    "same_policing",
    "vlan_of",
]

MARK = "jackfield"
"""The key in ``external_ids`` that says whose a row is: ``port:UUID`` or ``network:UUID``."""

STATE = "jackfield-state"
"""The key in ``external_ids`` that says which daemon's a row is: two may share a database."""

IDENTITY_KEYS = ("attached-mac", "iface-id", "iface-status", "ifname", "port-profile", "vm-id")

_KIB_BITS = 8192
_KILO = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Names:
    """What the rows of the port ``number`` of a transaction are called in it."""

    number: int

    @property
    def port(self) -> str:
        """The row of the table Port."""
        return f"port{self.number}"

    @property
    def interface(self) -> str:
        """The row of the table Interface."""
        return f"interface{self.number}"

    @property
    def qos(self) -> str:
        """The row of the table QoS."""
        return f"qos{self.number}"

    @property
    def queue(self) -> str:
        """The row of the table Queue."""
        return f"queue{self.number}"


def mark_of(alias: str) -> str:
    """Return the mark of a row from the alias of a link: ``port:UUID``."""
    return alias.removeprefix("jackfield:")


def marks(alias: str, state: str) -> dict[str, str]:
    """Return what says in ``external_ids`` that a row is ours."""
    return {MARK: mark_of(alias), STATE: state}


def insert_rows(port: OvsPort, state: str, names: Names) -> list[dict[str, Any]]:
    """Return the operations that make a port's rows, without its place on a bridge."""
    own = marks(port.alias, state)
    return [
        *qos_rows(port, state, names),
        {
            "op": "insert",
            "table": "Interface",
            "uuid-name": names.interface,
            "row": {
                "name": port.link,
                "external_ids": as_map({**dict(port.identity), **own}),
                **interface_columns(port),
            },
        },
        {
            "op": "insert",
            "table": "Port",
            "uuid-name": names.port,
            "row": {
                "name": port.link,
                "interfaces": named(names.interface),
                "external_ids": as_map(own),
                **port_columns(port, names),
            },
        },
    ]


def port_columns(port: OvsPort, names: Names) -> Row:
    """Return what the table Port says of VLANs and of what the guest may get."""
    vlan = port.vlan
    return {
        "vlan_mode": as_set([] if vlan is None else [vlan.mode]),
        "tag": as_set([] if vlan is None or vlan.tag is None else [vlan.tag]),
        "trunks": as_set([] if vlan is None else vlan.trunks),
        "qos": as_set([]) if port.inbound is None else named(names.qos),
    }


def interface_columns(port: OvsPort) -> Row:
    """Return what the table Interface says of what the guest may send, in kbit/s and kbit."""
    rate = port.outbound
    return {
        "ingress_policing_rate": 0 if rate is None else _kilobits(rate.average or 1),
        "ingress_policing_burst": 0 if rate is None else _kilobits(rate.burst or 0),
    }


def qos_rows(port: OvsPort, state: str, names: Names) -> list[dict[str, Any]]:
    """Return the operations that make the rows which limit what the guest may get.

    Without a limit of its own the queue discipline would take the device's speed, which of a tap
    is 10 Mbit/s; traffic that nobody sorts goes through queue 0.
    """
    if port.inbound is None:
        return []
    least, most, burst = _bits(port.inbound)
    own = as_map(marks(port.alias, state))
    return [
        {
            "op": "insert",
            "table": "Queue",
            "uuid-name": names.queue,
            "row": {
                "external_ids": own,
                "other_config": as_map(
                    {
                        "min-rate": str(least),
                        "max-rate": str(most),
                        **({"burst": str(burst)} if burst else {}),
                    }
                ),
            },
        },
        {
            "op": "insert",
            "table": "QoS",
            "uuid-name": names.qos,
            "row": {
                "type": "linux-htb",
                "external_ids": own,
                "other_config": as_map({"max-rate": str(most)}),
                "queues": ["map", [[0, named(names.queue)]]],
            },
        },
    ]


def vlan_of(row: Row) -> OvsVlan | None:
    """Return the VLANs of a row of the table Port."""
    mode, tag, trunks = (of_set(row[name]) for name in ("vlan_mode", "tag", "trunks"))
    if not (mode or tag or trunks):
        return None
    return OvsVlan(
        mode=mode[0] if mode else "", tag=tag[0] if tag else None, trunks=tuple(sorted(trunks))
    )


def rate_of(wanted: Rate | None, qos: Row | None, queues: Mapping[str, Row]) -> Rate | None:
    """Return what a row of the table QoS admits, as ``wanted`` spells it if it means the same."""
    if qos is None:
        return None
    ours = of_map(qos["queues"])
    queue = queues.get(str(ours.get(0)))
    said = {} if queue is None else of_map(queue["other_config"])
    least, most, burst = (_number(said.get(name)) for name in ("min-rate", "max-rate", "burst"))
    whole = _number(of_map(qos["other_config"]).get("max-rate"))
    same = whole == most and qos["type"] == "linux-htb"
    if wanted is not None and same and (least, most, burst) == _bits(wanted):
        return wanted
    return Rate(average=least // _KIB_BITS, peak=most // _KIB_BITS, burst=burst // _KIB_BITS)


def same_policing(wanted: Rate | None, row: Row, columns: Row) -> Rate | None:
    """Return what a row of the table Interface lets in, as ``wanted`` if it is ``columns``."""
    rate, burst = (row[name] for name in ("ingress_policing_rate", "ingress_policing_burst"))
    if all(row[name] == value for name, value in columns.items()):
        return wanted
    if not rate:
        return None
    return Rate(
        average=rate * _KILO // _KIB_BITS, burst=burst * _KILO // _KIB_BITS if burst else None
    )


def _bits(rate: Rate) -> tuple[int, int, int]:
    """Return the least and the most in bits a second, and the burst in bits."""
    least = (rate.average or 1) * _KIB_BITS
    most = max((rate.peak or 0) * _KIB_BITS, least)
    return least, most, (rate.burst or 0) * _KIB_BITS


def _kilobits(kib: int) -> int:
    return -(-kib * _KIB_BITS // _KILO)


def _number(text: object) -> int:
    try:
        return int(str(text))
    except ValueError:
        return 0
