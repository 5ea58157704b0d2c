"""Rows that are ours and of nobody: what a crash, a reset or a reboot has left."""

from __future__ import annotations

import logging
from collections.abc import Collection

from jackfield.errors import MissingFeature
from jackfield.host.kernel import Kernel
from jackfield.host.nft.ingress import guarded, unguard
from jackfield.host.openvswitch.database import Database
from jackfield.host.openvswitch.port import removal
from jackfield.host.openvswitch.portrows import look_at_ports
from jackfield.host.openvswitch.rows import MARK, STATE, mark_of
from jackfield.host.openvswitch.values import Row, as_map, as_set, of_map

__all__ = ["sweep"]

log = logging.getLogger(__name__)


def sweep(database: Database, kernel: Kernel, known: Collection[str]) -> list[str]:
    """Remove our rows whose alias is not ``known`` and those whose device is gone.

    ``known`` are the aliases of the networks that run and of their ports.  Rows of another daemon
    that shares the database are left alone.  Returns the names of what was removed.  Where Open
    vSwitch does not run nothing is done, and the database is not ``swept``.
    """
    if not database.runs:
        # What guards a port is needed as soon as Open vSwitch is back.
        return []
    keep = {mark_of(alias) for alias in known}
    mine = [["external_ids", "includes", as_map({STATE: database.state})]]
    columns = ("_uuid", "name", "external_ids")
    try:
        with database.session() as session:
            ports, bridges, qos, queues = session.select_many(
                [
                    ("Port", columns, mine),
                    ("Bridge", columns, mine),
                    ("QoS", ("_uuid", "external_ids"), mine),
                    ("Queue", ("_uuid", "external_ids"), mine),
                ],
                "list our rows",
            )
            links = kernel.route.links([row["name"] for row in ports]) if ports else {}
            gone = [row for row in bridges if _mark(row) not in keep]
            own = {row["name"] for row in bridges}
            stale = [
                row["name"]
                for row in ports
                if row["name"] not in own and (_mark(row) not in keep or row["name"] not in links)
            ]
            found = look_at_ports(session, stale)
            operations = [item for name in stale for item in removal(found, name)]
            operations += [
                {"op": "delete", "table": table, "where": [["_uuid", "==", row["_uuid"]]]}
                for table, rows in (("QoS", qos), ("Queue", queues))
                for row in rows
                if _mark(row) not in keep
            ]
            if gone:
                operations.append(
                    {
                        "op": "mutate",
                        "table": "Open_vSwitch",
                        "where": [],
                        "mutations": [["bridges", "delete", as_set(row["_uuid"] for row in gone)]],
                    }
                )
            if operations:
                # A bridge's device is in the way of the next one of its name until it is gone.
                session.finish(operations, "remove rows of ports and bridges that are no more")
    except MissingFeature as error:
        log.warning("Open vSwitch's database is not looked through: %s", error)
        return []
    database.swept = True
    chains = guarded(kernel.nft)
    unguard(kernel.nft, chains - {row["name"] for row in ports if row["name"] not in stale})
    return [*stale, *(row["name"] for row in gone)]


def _mark(row: Row) -> str:
    return str(of_map(row["external_ids"]).get(MARK, ""))
