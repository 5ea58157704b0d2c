"""The driver of Open vSwitch bridges that are ours."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jackfield.errors import ForeignObject, MissingFeature
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.openvswitch.database import Database, Session
from jackfield.host.openvswitch.datapath import best_datapath
from jackfield.host.openvswitch.port import without_limits
from jackfield.host.openvswitch.portrows import is_ours, look_at_ports
from jackfield.host.openvswitch.rows import STATE, marks
from jackfield.host.openvswitch.values import Row, as_map, as_set, named, of_map, of_set, reference
from jackfield.state.openvswitch import OvsBridge

__all__ = ["OvsBridgeDriver"]

log = logging.getLogger(__name__)

_COLUMNS = ("_uuid", "name", "external_ids", "ports")


class OvsBridgeDriver:
    """Makes, looks at and removes Open vSwitch bridges.

    A bridge has the datapath that the host offers when it is made, and keeps it.
    """

    def __init__(self, database: Database) -> None:
        """Act through ``database``."""
        self._database = database
        # Removed while Open vSwitch did not run: their rows are still there.
        self._owed: list[OvsBridge] = []

    def observe(
        self,
        kernel: Kernel,
        resources: Sequence[OvsBridge],
        claimed: Collection[str] = frozenset(),
    ) -> dict[str, Observed]:
        """Return what the database says of each bridge; any other link of its name is foreign."""
        with self._database.session() as session:
            self._remove_owed(session)
            rows = _rows(session, resources)
        links = kernel.route.links([bridge.name for bridge in resources])
        found: dict[str, Observed] = {}
        for bridge in resources:
            row, link = rows.get(bridge.name), links.get(bridge.name)
            if row is not None and is_ours(row, bridge.alias):
                found[bridge.key] = Observed(presence=Presence.OURS, resource=bridge)
            elif row is not None:
                description = f"Open vSwitch bridge {bridge.name}"
                found[bridge.key] = Observed(presence=Presence.FOREIGN, description=description)
            elif link is not None:
                found[bridge.key] = Observed(presence=Presence.FOREIGN, description=link.describe())
            else:
                found[bridge.key] = ABSENT
        return found

    def ensure(
        self, kernel: Kernel, resources: Sequence[OvsBridge], replaced: Mapping[str, OvsBridge]
    ) -> None:
        """Make the bridges, each with the port of its own name that every bridge has."""
        with self._database.session() as session:
            rows = _rows(session, resources)
            new = [bridge for bridge in resources if bridge.name not in rows]
            for bridge in resources:
                if bridge.name in rows and not is_ours(rows[bridge.name], bridge.alias):
                    raise ForeignObject(
                        f"Open vSwitch bridge {bridge.name} is in the way and is not ours; it is "
                        "left alone"
                    )
            if not new:
                return
            what = f"make Open vSwitch bridge {_names(new)}"
            datapath = best_datapath()
            uplinks = kernel.route.links([b.uplink for b in new if b.uplink is not None])
            operations = []
            for number, bridge in enumerate(new):
                uplink = None if bridge.uplink is None else uplinks.get(bridge.uplink)
                row: Row = {
                    "name": bridge.name,
                    "datapath_type": datapath,
                    # Left to itself Open vSwitch passes over addresses that somebody has set.
                    "other_config": as_map({} if uplink is None else {"hwaddr": uplink.mac_text}),
                }
                operations += _insert(row, marks(bridge.alias, self._database.state), number)
            session.wait_configured(session.change(operations, what), what)

    def remove(self, kernel: Kernel, resources: Sequence[OvsBridge]) -> None:
        """Remove the bridges that are ours, and return when their devices are gone."""
        names = _names(resources)
        try:
            with self._database.session() as session:
                self._remove(session, resources)
        except MissingFeature as error:
            log.warning("%s stay in Open vSwitch's database: %s", names, error)
            self._owed += resources

    def _remove(self, session: Session, resources: Sequence[OvsBridge]) -> None:
        rows = _rows(session, resources)
        ours = [
            bridge
            for bridge in resources
            if bridge.name in rows and is_ours(rows[bridge.name], bridge.alias)
        ]
        if not ours:
            return
        what = f"remove Open vSwitch bridge {_names(ours)}"
        uuids = [port for bridge in ours for port in of_set(rows[bridge.name]["ports"])]
        answers = session.select_many(
            [
                ("Port", ("name", "external_ids"), [["_uuid", "==", reference(uuid)]])
                for uuid in uuids
            ],
            what,
        )
        # Ports go with their bridge, but not what limits them.
        names = [
            row["name"]
            for found in answers
            for row in found
            if of_map(row["external_ids"]).get(STATE) == self._database.state
        ]
        limits = look_at_ports(session, names)
        operations = [item for name in names for item in without_limits(limits, name)]
        operations.append(_forget([rows[bridge.name]["_uuid"] for bridge in ours]))
        session.finish(operations, what)

    def _remove_owed(self, session: Session) -> None:
        owed, self._owed = self._owed, []
        if owed:
            self._remove(session, owed)


def _names(bridges: Sequence[OvsBridge]) -> str:
    return ", ".join(bridge.name for bridge in bridges)


def _rows(session: Session, bridges: Sequence[OvsBridge]) -> dict[str, Row]:
    answers = session.select_many(
        [("Bridge", _COLUMNS, [["name", "==", bridge.name]]) for bridge in bridges],
        "look at bridges",
    )
    return {row["name"]: row for rows in answers for row in rows}


def _forget(uuids: Sequence[Any]) -> dict[str, Any]:
    """Return what removes bridges; their ports and interfaces go with them."""
    return {
        "op": "mutate",
        "table": "Open_vSwitch",
        "where": [],
        "mutations": [["bridges", "delete", as_set(uuids)]],
    }


def _insert(row: Row, own: Mapping[str, str], number: int) -> list[dict[str, Any]]:
    """Return what makes the bridge of ``row``, with the port of its own name, marked as ours."""
    marked = {"name": row["name"], "external_ids": as_map(own)}
    names = f"bridge{number}", f"port{number}", f"interface{number}"
    return [
        {
            "op": "insert",
            "table": "Interface",
            "uuid-name": names[2],
            "row": {**marked, "type": "internal"},
        },
        {
            "op": "insert",
            "table": "Port",
            "uuid-name": names[1],
            "row": {**marked, "interfaces": named(names[2])},
        },
        {
            "op": "insert",
            "table": "Bridge",
            "uuid-name": names[0],
            "row": {**marked, **row, "ports": as_set([named(names[1])])},
        },
        {
            "op": "mutate",
            "table": "Open_vSwitch",
            "where": [],
            "mutations": [["bridges", "insert", as_set([named(names[0])])]],
        },
    ]
