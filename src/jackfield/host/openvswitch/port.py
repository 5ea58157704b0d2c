"""The driver of ports of Open vSwitch bridges.

A port is made in one transaction, whole, and is up when ovs-vswitchd has taken it; what it could
not take is an error here.  A removal is one transaction, too, and waits for nobody: ovs-vswitchd
may be gone for good.  That it has let go is waited for before the next port is made, which could
have the name of the last.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jackfield.errors import ForeignObject, HostError, MissingFeature, WrongState, counted
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.link import Link, set_link
from jackfield.host.netlink.message import Message
from jackfield.host.nft.ingress import guard, guarded, unguard
from jackfield.host.openvswitch.database import Database, Progress, Refused, Session
from jackfield.host.openvswitch.datapath import USERSPACE, fill_checksums
from jackfield.host.openvswitch.portrows import PortRows, is_ours, look_at_ports, uuid_of
from jackfield.host.openvswitch.rows import (
    IDENTITY_KEYS,
    Names,
    insert_rows,
    interface_columns,
    marks,
    port_columns,
    qos_rows,
    rate_of,
    same_policing,
    vlan_of,
)
from jackfield.host.openvswitch.values import as_map, as_set, named, of_map, of_set, reference
from jackfield.model.values import InterfaceName
from jackfield.state.openvswitch import OvsPort

__all__ = ["OvsPortDriver", "removal", "without_limits"]

log = logging.getLogger(__name__)

Operation = dict[str, Any]


class OvsPortDriver:
    """Makes, looks at and removes ports of Open vSwitch bridges."""

    def __init__(self, database: Database) -> None:
        """Act through ``database``."""
        self._database = database
        self._removed = False
        # Removed while Open vSwitch did not run: their rows are still there.
        self._owed: list[OvsPort] = []

    def observe(
        self, kernel: Kernel, resources: Sequence[OvsPort], claimed: Collection[str] = frozenset()
    ) -> dict[str, Observed]:
        """Return what the database says of each port; another's of that name is foreign."""
        # What is to be gone already is in nobody's way.
        self._remove_owed(kernel)
        names = [port.link for port in resources]
        with self._database.session() as session:
            found = look_at_ports(session, names)
        links = kernel.route.links(names)
        chains = guarded(kernel.nft, list(found.ports)) if found.ports else set()
        return {
            port.key: _observed(port, found, links.get(port.link), chains) for port in resources
        }

    def ensure(
        self, kernel: Kernel, resources: Sequence[OvsPort], replaced: Mapping[str, OvsPort]
    ) -> None:
        """Make the ports so, all in one transaction, and wait until ovs-vswitchd has done it."""
        self._remove_owed(kernel)
        what = _what(resources)
        with self._database.session() as session:
            datapaths = _datapaths(session, resources, what)
            if self._removed:
                session.wait_configured(session.progress(), what)
                self._removed = False
            stale = [one for one in resources if not replaced.get(one.key, one).plugged]
            self._unplug(session, stale, what)
            known = [port.link for port in resources if port.key in replaced and port not in stale]
            progress = self._write(session, resources, known, what)
            inside = [port for port in resources if datapaths[port.bridge] == USERSPACE]
            guard(kernel.nft, [port.link for port in inside])
            outside = [port.link for port in resources if port not in inside]
            unguard(kernel.nft, [name for name in outside if name in known])
            for port in inside:
                if port.guest_netns is not None and port.guest_ifname is not None:
                    fill_checksums(port.guest_netns, port.guest_ifname)
            session.wait_configured(progress, what)
            _raise_errors(session, resources)
        kernel.route.send([_bring_up(port) for port in resources])

    def _unplug(self, session: Session, ports: Sequence[OvsPort], what: str) -> None:
        """Have ovs-vswitchd let go of devices that it had open and that are others now."""
        if ports:
            found = look_at_ports(session, [port.link for port in ports])
            operations = [item for port in ports for item in removal(found, port.link)]
            session.wait_configured(session.change(operations, what), what)

    def _write(
        self,
        session: Session,
        resources: Sequence[OvsPort],
        known: Sequence[str],
        what: str,
    ) -> Progress:
        """Insert the rows of new ports and change those of others, all or none."""
        try:
            return session.change(self._operations(session, resources, known), what)
        except Refused as refused:
            if refused.word != "constraint violation":
                raise
            # Something has the name already: ours when this is done again, else foreign.
            names = [port.link for port in resources]
            found = look_at_ports(session, names)
            for port in resources:
                row = found.ports.get(port.link)
                if row is not None and not is_ours(row, port.alias):
                    raise ForeignObject(
                        f"cannot {what}: port {port.link} of Open vSwitch is not ours; it is "
                        "left alone"
                    ) from refused
            return session.change(self._operations(session, resources, names), what)

    def _operations(
        self,
        session: Session,
        resources: Sequence[OvsPort],
        known: Sequence[str],
    ) -> list[Operation]:
        """Return what makes the rows; those of the names ``known`` may exist."""
        found = look_at_ports(session, known)
        operations: list[Operation] = []
        for number, port in enumerate(resources):
            names = Names(number)
            if port.link in found.ports and port.link in found.interfaces:
                operations += _changes(port, found, self._database.state, names)
            else:
                operations += insert_rows(port, self._database.state, names)
                operations.append(_join(port.bridge, named(names.port)))
        return operations

    def remove(self, kernel: Kernel, resources: Sequence[OvsPort]) -> None:
        """Remove the rows that are ours, in one transaction.

        Where Open vSwitch does not run there is nothing to be waited for: the rows are removed
        before the next port is made, or by the daemon's next start.
        """
        names = [port.link for port in resources]
        try:
            with self._database.session() as session:
                found = look_at_ports(session, names)
                ours = [
                    port
                    for port in resources
                    if port.link in found.ports and is_ours(found.ports[port.link], port.alias)
                ]
                if ours:
                    operations = [item for port in ours for item in removal(found, port.link)]
                    session.change(operations, f"remove {_names(ours)} from Open vSwitch")
                    self._removed = True
                self._remove_loose_limits(session, resources)
        except MissingFeature as error:
            log.warning("%s stay in Open vSwitch's database: %s", ", ".join(names), error)
            self._owed += resources
        finally:
            unguard(kernel.nft, names)

    def _remove_loose_limits(self, session: Session, ports: Sequence[OvsPort]) -> None:
        """Remove limits of these ports that somebody took off them, or whose port he removed."""
        questions = [
            (table, ("_uuid",), [["external_ids", "includes", as_map(own)]])
            for port in ports
            if port.inbound is not None
            for own in (marks(port.alias, self._database.state),)
            for table in ("QoS", "Queue")
        ]
        what = f"remove limits of {_names(ports)}"
        answers = session.select_many(questions, what) if questions else []
        operations = [
            {"op": "delete", "table": table, "where": [["_uuid", "==", row["_uuid"]]]}
            for (table, _, _), rows in zip(questions, answers, strict=True)
            for row in rows
        ]
        try:
            if operations:
                session.change(operations, what)
        except Refused as refused:
            log.warning("somebody else uses limits of ours, which stay: %s", refused)

    def _remove_owed(self, kernel: Kernel) -> None:
        owed, self._owed = self._owed, []
        if owed:
            self.remove(kernel, owed)


def _observed(
    wanted: OvsPort, found: PortRows, link: Link | None, chains: Collection[str]
) -> Observed:
    row, bridge = found.ports.get(wanted.link), found.bridge_of(wanted.link)
    if row is None:
        if link is not None and link.master is not None:
            return Observed(presence=Presence.FOREIGN, description=link.describe())
        return ABSENT
    where = "" if bridge is None else f" of Open vSwitch bridge {bridge['name']}"
    if not is_ours(row, wanted.alias):
        return Observed(presence=Presence.FOREIGN, description=f"port {wanted.link}{where}")
    interface = found.interfaces.get(wanted.link)
    if interface is None or bridge is None:
        return ABSENT
    said = of_map(interface["external_ids"])
    userspace = bridge["datapath_type"] == USERSPACE
    resource = OvsPort(
        link=wanted.link,
        bridge=InterfaceName(bridge["name"]),
        alias=wanted.alias,
        identity=tuple((key, said[key]) for key in IDENTITY_KEYS if key in said),
        vlan=vlan_of(row),
        inbound=rate_of(wanted.inbound, found.qos_of(wanted.link), found.queues),
        outbound=same_policing(wanted.outbound, interface, interface_columns(wanted)),
        guest_netns=wanted.guest_netns,
        guest_ifname=wanted.guest_ifname,
        up=link is not None and link.up,
        # With the kernel's datapath a guard would stop everything.
        guarded=userspace is (wanted.link in chains),
        # In user space ovs-vswitchd has each device that it opens take every frame.
        plugged=not userspace or (link is not None and link.promiscuous),
    )
    return Observed(presence=Presence.OURS, resource=resource)


def _datapaths(session: Session, ports: Sequence[OvsPort], what: str) -> dict[InterfaceName, str]:
    """Return the datapath of each bridge; raises for one that is missing or cannot do it."""
    bridges = list(dict.fromkeys(port.bridge for port in ports))
    answers = session.select_many(
        [("Bridge", ("datapath_type",), [["name", "==", bridge]]) for bridge in bridges], what
    )
    datapaths: dict[InterfaceName, str] = {}
    for bridge, rows in zip(bridges, answers, strict=True):
        if not rows:
            raise WrongState(
                f"cannot {what}: Open vSwitch has no bridge {bridge}",
                hint=f"make it first: ovs-vsctl add-br {bridge}",
            )
        datapaths[bridge] = rows[0]["datapath_type"]
    for port in ports:
        if port.outbound is not None and datapaths[port.bridge] == USERSPACE:
            raise MissingFeature(
                f"cannot limit what {port.link} sends: bridge {port.bridge} of Open vSwitch has "
                "its datapath in user space, which gets frames before the kernel polices them",
                hint="leave <outbound> out, or use a bridge with the kernel's datapath",
            )
    return datapaths


def _changes(port: OvsPort, found: PortRows, state: str, names: Names) -> list[Operation]:
    """Return what makes rows that exist be as wanted; keys of others in them are left."""
    row, interface = found.ports[port.link], found.interfaces[port.link]
    at = [["_uuid", "==", row["_uuid"]]]
    inner = [["_uuid", "==", interface["_uuid"]]]
    own = marks(port.alias, state)
    operations = [
        *qos_rows(port, state, names),
        {"op": "update", "table": "Port", "where": at, "row": port_columns(port, names)},
        *_limit_rows(found, port.link),
        {"op": "update", "table": "Interface", "where": inner, "row": interface_columns(port)},
        {
            "op": "mutate",
            "table": "Interface",
            "where": inner,
            "mutations": [
                ["external_ids", "delete", as_set([*IDENTITY_KEYS, *own])],
                ["external_ids", "insert", as_map({**dict(port.identity), **own})],
            ],
        },
    ]
    bridge = found.bridge_of(port.link)
    if bridge is not None and bridge["name"] != port.bridge:
        operations += [_leave(bridge["_uuid"], row["_uuid"]), _join(port.bridge, row["_uuid"])]
    return operations


def removal(found: PortRows, name: str) -> list[Operation]:
    """Return what removes the rows of the port ``name``; an interface goes with its port."""
    operations: list[Operation] = []
    bridge = found.bridge_of(name)
    if bridge is not None:
        operations.append(_leave(bridge["_uuid"], found.ports[name]["_uuid"]))
    return [*operations, *without_limits(found, name)]


def without_limits(found: PortRows, name: str) -> list[Operation]:
    """Return what takes the limits off a port that is to go, and removes their rows."""
    rows = _limit_rows(found, name)
    if not rows:
        return []
    # A row that is to go refers to others until the transaction's end.
    at = [["_uuid", "==", found.ports[name]["_uuid"]]]
    return [{"op": "update", "table": "Port", "where": at, "row": {"qos": as_set([])}}, *rows]


def _limit_rows(found: PortRows, name: str) -> list[Operation]:
    """Return what removes the limits of the port ``name``, which no row but its own refers to."""
    qos = found.qos_of(name)
    if qos is None:
        return []
    queues = of_map(qos["queues"]).values()
    return [
        {"op": "delete", "table": table, "where": [["_uuid", "==", reference(uuid)]]}
        for table, uuid in (("QoS", uuid_of(qos)), *(("Queue", uuid) for uuid in queues))
    ]


def _join(bridge: str, port: object) -> Operation:
    return {
        "op": "mutate",
        "table": "Bridge",
        "where": [["name", "==", bridge]],
        "mutations": [["ports", "insert", as_set([port])]],
    }


def _leave(bridge: object, port: object) -> Operation:
    return {
        "op": "mutate",
        "table": "Bridge",
        "where": [["_uuid", "==", bridge]],
        "mutations": [["ports", "delete", as_set([port])]],
    }


def _bring_up(port: OvsPort) -> Message:
    return set_link(port.link, f"bring {port.link} up", up=True)


def _raise_errors(session: Session, ports: Sequence[OvsPort]) -> None:
    """Raise what ovs-vswitchd says is wrong with the ports."""
    answers = session.select_many(
        [("Interface", ("error", "ofport"), [["name", "==", port.link]]) for port in ports],
        "see whether the ports work",
    )
    for port, rows in zip(ports, answers, strict=True):
        said = of_set(rows[0]["error"]) if rows else ["its row is gone"]
        if said:
            raise HostError(
                f"{port.link} does not work as a port of Open vSwitch bridge {port.bridge}: "
                f"ovs-vswitchd says: {said[0]}"
            )


def _names(ports: Sequence[OvsPort]) -> str:
    return ports[0].link if len(ports) == 1 else counted(len(ports), "port")


def _what(ports: Sequence[OvsPort]) -> str:
    bridges = list(dict.fromkeys(port.bridge for port in ports))
    return f"make {_names(ports)} a port of Open vSwitch bridge {', '.join(bridges)}"
