"""Other people's ports of a bridge of ours: noted when it goes, put back when it comes again."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from jackfield.errors import JackfieldError, MissingFeature
from jackfield.host.kernel import Kernel
from jackfield.host.openvswitch.database import Database
from jackfield.host.openvswitch.rows import MARK
from jackfield.host.openvswitch.values import as_set, named, of_map, of_set, reference

__all__ = ["note_members", "put_back"]

log = logging.getLogger(__name__)

_INTERFACE = (
    "name",
    "type",
    "options",
    "external_ids",
    "mac",
    "mtu_request",
    "ofport_request",
    "ingress_policing_rate",
    "ingress_policing_burst",
)
_PORT = ("name", "external_ids", "other_config", "vlan_mode", "tag", "trunks", "qos")


def note_members(database: Database, bridge: str) -> dict[str, dict[str, Any]]:
    """Return, by name, the rows of the ports that are neither ours nor the bridge's own.

    Bonds, ports of several interfaces, are left out: they are an administrator's work.
    """
    try:
        with database.session() as session:
            bridges = session.select("Bridge", ("ports",), [["name", "==", bridge]])
            uuids = [uuid for row in bridges for uuid in of_set(row["ports"])]
            questions = [
                ("Port", (*_PORT, "interfaces"), [["_uuid", "==", reference(uuid)]])
                for uuid in uuids
            ]
            ports = [row for rows in session.select_many(questions, "list ports") for row in rows]
            foreign = [
                row
                for row in ports
                if row["name"] != bridge
                and MARK not in of_map(row["external_ids"])
                and len(of_set(row["interfaces"])) == 1
            ]
            answers = session.select_many(
                [("Interface", _INTERFACE, [["name", "==", row["name"]]]) for row in foreign],
                "list interfaces",
            )
    except MissingFeature as error:
        log.warning("the ports of %s are not noted: %s", bridge, error)
        return {}
    return {
        port["name"]: {
            "bridge": bridge,
            "port": {name: port[name] for name in _PORT},
            "interface": rows[0],
        }
        for port, rows in zip(foreign, answers, strict=True)
        if rows
    }


def put_back(
    database: Database, kernel: Kernel, name: str, index: int, member: Mapping[str, Any]
) -> bool:
    """Make a noted port again; return whether that was possible.

    Its device must be the one that it was, by its ``index``; Open vSwitch makes those of other
    types itself.
    """
    if member["interface"]["type"] == "" and kernel.route.index(name) != index:
        return False
    try:
        with database.session() as session:
            session.change(_insert(member), f"put {name} back on {member['bridge']}")
    except JackfieldError as error:
        log.warning("%s", error)
        return False
    return True


def _insert(member: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    # A limit of somebody else's (QoS) is a row of its own, and still there.
    return [
        {
            "op": "insert",
            "table": "Interface",
            "uuid-name": "interface",
            "row": member["interface"],
        },
        {
            "op": "insert",
            "table": "Port",
            "uuid-name": "port",
            "row": {**member["port"], "interfaces": named("interface")},
        },
        {
            "op": "mutate",
            "table": "Bridge",
            "where": [["name", "==", member["bridge"]]],
            "mutations": [["ports", "insert", as_set([named("port")])]],
        },
    ]
