"""What the database says of some ports: their rows, their bridges, and their limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from jackfield.host.netlink.route import ONE_BY_ONE_LIMIT
from jackfield.host.openvswitch.database import Session
from jackfield.host.openvswitch.rows import MARK, mark_of
from jackfield.host.openvswitch.values import Row, of_map, of_set, reference

__all__ = ["PortRows", "is_ours", "look_at_ports", "uuid_of"]

_PORT = ("_uuid", "name", "external_ids", "vlan_mode", "tag", "trunks", "qos")
_INTERFACE = (
    "_uuid",
    "name",
    "external_ids",
    "ingress_policing_rate",
    "ingress_policing_burst",
    "error",
)
_BRIDGE = ("_uuid", "name", "datapath_type", "external_ids")
_QOS = ("_uuid", "type", "other_config", "queues")
_QUEUE = ("_uuid", "other_config")


@dataclasses.dataclass(slots=True)
class PortRows:
    """Rows: ports and interfaces by name, bridges by the uuid of a port, limits by their own."""

    ports: dict[str, Row] = dataclasses.field(default_factory=dict)
    interfaces: dict[str, Row] = dataclasses.field(default_factory=dict)
    bridges: dict[str, Row] = dataclasses.field(default_factory=dict)
    qos: dict[str, Row] = dataclasses.field(default_factory=dict)
    queues: dict[str, Row] = dataclasses.field(default_factory=dict)

    def bridge_of(self, name: str) -> Row | None:
        """Return the row of the bridge that the port ``name`` is on."""
        port = self.ports.get(name)
        return None if port is None else self.bridges.get(uuid_of(port))

    def qos_of(self, name: str) -> Row | None:
        """Return the row that limits what the port ``name`` may get."""
        used = of_set(self.ports[name]["qos"])
        return self.qos.get(used[0]) if used else None


def uuid_of(row: Row) -> str:
    """Return a row's uuid."""
    return str(row["_uuid"][1])


def is_ours(row: Row, alias: str) -> bool:
    """Return whether a row has the mark of what ``alias`` names."""
    return bool(of_map(row["external_ids"]).get(MARK) == mark_of(alias))


def look_at_ports(session: Session, names: Sequence[str]) -> PortRows:
    """Return the rows of the ports of these names; of many, the tables are asked for whole."""
    if len(names) > ONE_BY_ONE_LIMIT:
        return _look_at_all(session, names)
    found = PortRows()
    questions = [
        (table, columns, [["name", "==", name]])
        for name in names
        for table, columns in (("Port", _PORT), ("Interface", _INTERFACE))
    ]
    what = "look at ports"
    answers = session.select_many(questions, what) if questions else []
    for (table, _, _), rows in zip(questions, answers, strict=True):
        kept = found.ports if table == "Port" else found.interfaces
        kept.update({row["name"]: row for row in rows})
    if not found.ports:
        return found
    uuids = [uuid_of(row) for row in found.ports.values()]
    limits = [uuid for row in found.ports.values() for uuid in of_set(row["qos"])]
    answers = session.select_many(
        [
            *(("Bridge", _BRIDGE, [["ports", "includes", reference(uuid)]]) for uuid in uuids),
            *(("QoS", _QOS, [["_uuid", "==", reference(uuid)]]) for uuid in limits),
        ],
        what,
    )
    # A port is on one bridge.
    found.bridges = {uuid: rows[0] for uuid, rows in zip(uuids, answers, strict=False) if rows}
    found.qos = {uuid_of(row): row for rows in answers[len(uuids) :] for row in rows}
    queues = [uuid for row in found.qos.values() for uuid in of_map(row["queues"]).values()]
    if queues:
        answers = session.select_many(
            [("Queue", _QUEUE, [["_uuid", "==", reference(uuid)]]) for uuid in queues], what
        )
        found.queues = {uuid_of(row): row for rows in answers for row in rows}
    return found


def _look_at_all(session: Session, names: Sequence[str]) -> PortRows:
    ports, interfaces, bridges, qos, queues = session.select_many(
        [
            ("Port", _PORT, ()),
            ("Interface", _INTERFACE, ()),
            ("Bridge", (*_BRIDGE, "ports"), ()),
            ("QoS", _QOS, ()),
            ("Queue", _QUEUE, ()),
        ],
        "list the ports",
    )
    wanted = frozenset(names)
    return PortRows(
        ports={row["name"]: row for row in ports if row["name"] in wanted},
        interfaces={row["name"]: row for row in interfaces if row["name"] in wanted},
        bridges={uuid: row for row in bridges for uuid in of_set(row["ports"])},
        qos={uuid_of(row): row for row in qos},
        queues={uuid_of(row): row for row in queues},
    )
