"""Taking libvirt's networks over, running ones with their guests.

A running network's bridge cannot be in two hands, so libvirt is asked to stop the network and we
start it at once: the links of guests are noted before, and become ports of our bridge of the same
name and address.  They stay up meanwhile; a guest sees a gap and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from uuid import UUID

import msgspec

from jackfield.document.libvirt import write_network
from jackfield.document.rules import makes_bridge
from jackfield.engine import workplace
from jackfield.engine.definitions import Definitions
from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.libvirt.daemon import LibvirtDaemon
from jackfield.engine.libvirt.files import (
    Found,
    Places,
    leases_from_status,
    read_installation,
    read_status,
    writing_files,
)
from jackfield.engine.libvirt.leftovers import end_links, end_rules, why_not_ended
from jackfield.engine.longdocuments import aside
from jackfield.engine.members import member_port, member_row
from jackfield.engine.networks import Networks
from jackfield.engine.plans import Plans
from jackfield.engine.ports.clients import ClientPorts
from jackfield.engine.records import NetworkRecord
from jackfield.engine.registry import Registry
from jackfield.engine.store.rows import MemberRow
from jackfield.engine.views import MigrationStep
from jackfield.engine.workplace import Workplace
from jackfield.errors import (
    Conflict,
    HostError,
    JackfieldError,
    NetworkNotFound,
    counted,
    shell_word,
)
from jackfield.host.dnsmasq.files import DnsmasqFiles
from jackfield.host.thread import KernelThread
from jackfield.model.network import Network
from jackfield.model.values import InterfaceName
from jackfield.plan.network import check_host
from jackfield.plan.standin import stands_in
from jackfield.state.hoststate import Change, HostState
from jackfield.state.resources import Resource

__all__ = ["Takeover"]

log = logging.getLogger(__name__)


class Takeover:
    """Takes over what libvirt has; nothing of it is changed before it is ours as well."""

    def __init__(
        self,
        registry: Registry,
        definitions: Definitions,
        networks: Networks,
        ports: ClientPorts,
        plans: Plans,
        thread: KernelThread[Workplace],
        host: HostWatch,
        places: Places,
    ) -> None:
        """Read what is at ``places``, and work through the engine's other parts."""
        self._registry = registry
        self._definitions = definitions
        self._networks = networks
        self._ports = ports
        self._plans = plans
        self._thread = thread
        self._host = host
        self._places = places
        self._lock = asyncio.Lock()

    async def run(
        self, ref: str | None, *, dry_run: bool, own_sockets: Collection[Path]
    ) -> list[MigrationStep]:
        """Take over the network ``ref``, or all, and return what was done, or would be.

        A network that cannot be taken over is left as it is, and its step says why.
        """
        async with self._lock:
            places = self._places
            found = await asyncio.to_thread(read_installation, places)
            if ref is not None:
                found = [item for item in found if ref in {item.name, str(item.uuid)}]
                if not found:
                    raise NetworkNotFound(
                        f"libvirt has no network {ref!r}",
                        hint=f"its definitions are in {places.definitions}",
                    )
            # Who uses a bridge that another network makes is defined after that one.
            found.sort(key=lambda item: not _makes_bridge(item))
            daemon = await asyncio.to_thread(LibvirtDaemon.find, places.sockets, own_sockets)
            steps = []
            # What is only said is noted here: one network may be in the way of the next.
            known = _copied(self._registry) if dry_run else self._registry
            for item in found:
                try:
                    async for text in self._network(item, daemon, known, dry_run=dry_run):
                        # One by one: what was done before a failure is told as well.
                        step = MigrationStep(network=item.name, text=text, done=not dry_run)
                        steps.append(step)
                except JackfieldError as error:
                    told = error.message if error.hint is None else f"{error.message}; {error.hint}"
                    steps.append(MigrationStep(network=item.name, text=told, refused=True))
            return steps

    async def _network(
        self, found: Found, daemon: LibvirtDaemon | None, known: Registry, *, dry_run: bool
    ) -> AsyncIterator[str]:
        """Yield what is done for one network, each thing after it is done."""
        if found.problem is not None:
            raise HostError(f"cannot be read: {found.problem}")
        ours = None if found.uuid is None else known.networks.get(found.uuid)
        known_here = None if ours is None else ours.stored
        if known_here and found.stored and stands_in(found.stored, known_here):
            return
        if found.stored is not None:
            record, complete = await self._definitions.complete(found.stored, known)
            if record.stored is None:
                if dry_run:
                    record.stored = complete
                    known.add(record)
                else:
                    await self._definitions.define(found.stored)
                yield f"defined, as {_described(complete)}"
            if found.autostart:
                if not dry_run:
                    await self._definitions.set_autostart(str(complete.uuid), autostart=True)
                    await self._unmark(found, daemon)
                yield "starts with the host, and no longer by libvirt"
        if found.live is not None:
            running = self._running(found, found.live, daemon, known, dry_run=dry_run)
            async for text in running:
                yield text
        elif found.uuid is not None:
            count = await self._thread.run(self._copy_leases, found, dry_run=dry_run)
            if count:
                yield f"{counted(count, 'lease')} taken over"

    async def _running(
        self,
        found: Found,
        live: Network,
        daemon: LibvirtDaemon | None,
        known: Registry,
        *,
        dry_run: bool,
    ) -> AsyncIterator[str]:
        record, _ = await self._definitions.complete(live, known)
        if record.live is not None:
            return
        assert live.uuid is not None
        await self._plans.prepare(live)
        self._check(found, live, daemon)
        members = await self._thread.run(_members, live)
        count = await self._thread.run(self._copy_leases, found, dry_run=True)
        if dry_run:
            record.live = live
            known.add(record)
        else:
            async with self._connections_kept():
                count = await self._move(found, live, daemon, members)
        who = f"libvirt's daemon at {daemon.path}" if daemon else "what libvirt's daemon left"
        yield f"stopped in libvirt ({who}) and running here, on {found.bridge or 'no bridge'}"
        if daemon is not None and daemon.has_networks_inside:
            yield (
                "guests of libvirtd can be started on it again after: jackfield export "
                f"--as-bridge {shell_word(found.name)}"
            )
        for member in members:
            yield f"{member.name} moved to our {found.bridge}"
        if count:
            yield f"{counted(count, 'lease')} taken over"
        refused = [f"a port that cannot be read: {problem}" for problem in found.unread]
        for port in found.ports:
            if port.plug is None:
                continue
            owner = "" if port.owner is None else f" of {port.owner.name}"
            try:
                if dry_run:
                    self._ports.choose(live, port, reclaim=True)
                else:
                    await self._ports.create(str(live.uuid), port, reclaim=True)
            except JackfieldError as error:
                # The others are guests' as well.
                refused.append(f"port {port.uuid}{owner}: {error.message}")
                continue
            yield f"port {port.uuid}{owner} taken over"
        if refused:
            raise Conflict(f"not taken over: {'; '.join(refused)}")

    def _check(self, found: Found, live: Network, daemon: LibvirtDaemon | None) -> None:
        """Raise why a running network is better left with libvirt."""
        try:
            self._plans.plan(live)
            check_host(live, self._host.facts(live))
            if daemon is not None and daemon.client() is None:
                raise HostError(
                    f"libvirt's daemon answers at {daemon.path}, but there is no virsh to ask "
                    "it to stop the network: install libvirt-clients"
                )
            if daemon is None and (reason := why_not_ended(found)) is not None:
                raise HostError(reason)
            link = self._host.links().get(found.bridge or "")
            if live.mode.is_routed and (link is None or link.kind != "bridge" or link.alias):
                raise HostError(f"its bridge {found.bridge} is not there, or is not libvirt's")
        except JackfieldError as error:
            raise error.with_context("left running with libvirt") from error

    @contextlib.asynccontextmanager
    async def _connections_kept(self) -> AsyncIterator[None]:
        """Keep guests' connections between libvirt's rules and ours, and back should ours fail.

        Meanwhile nobody else has rules that track connections, and without any the kernel would
        reset what it translates.
        """
        await self._thread.run(lambda tools: tools.kernel.connections.lend(tools.kernel.nft))
        try:
            yield
        finally:
            await self._thread.run(
                lambda tools: tools.kernel.connections.take_back(tools.kernel.nft)
            )

    async def _move(
        self,
        found: Found,
        live: Network,
        daemon: LibvirtDaemon | None,
        members: list[MemberRow],
    ) -> int:
        """Stop the network in libvirt and start it here; on failure it runs in libvirt again.

        Returns how many leases there were.
        """
        assert live.uuid is not None
        # Should we die in between, the next start of the network puts them on its bridge.
        await self._thread.run(_remember, members)
        # What may pass is said before libvirt's rules go.
        rules = [item for item in self._plans.plan(live).values() if item.kind == "rules"]
        await self._thread.run(workplace.mend, rules)
        try:
            if daemon is not None:
                await daemon.ask("net-destroy", str(live.name))
            else:
                await self._thread.run(end_links, self._places, found)
        except JackfieldError:
            await self._thread.run(_forget, live.uuid, rules)
            raise
        try:
            # libvirt's dnsmasq may have given some to the last.
            count = await self._thread.run(self._copy_leases, found, dry_run=False)
            await self._networks.create(_without_stp(live))
        except JackfieldError as error:
            if daemon is None:
                raise error.with_context(
                    "stopped, but not started here; its guests are waiting for it"
                ) from error
            try:
                await self._give_back(found, live, daemon, members)
            except JackfieldError as second:
                raise error.with_context(
                    f"stopped, and started neither in libvirt again ({second.message}) nor here"
                ) from error
            raise error.with_context("runs in libvirt again") from error
        finally:
            if daemon is None:
                for failure in await asyncio.to_thread(end_rules, found):
                    log.warning("network %s: %s", found.name, failure)
        if live.bridge is not None and live.bridge.stp and live.mode.is_routed:
            await self._networks.update(str(live.uuid), lambda _: live, live=True, config=False)
        return count

    async def _give_back(
        self, found: Found, live: Network, daemon: LibvirtDaemon, members: list[MemberRow]
    ) -> None:
        if found.stored is not None:
            await daemon.ask("net-start", found.name)
        else:
            text = await aside(lambda: write_network(live, inactive=True), live)
            await daemon.ask("net-create", "/dev/stdin", text=text)
        assert live.uuid is not None
        if live.bridge is not None and live.bridge.name is not None:
            await self._thread.run(_put_back, live.bridge.name, members)
        await self._thread.run(_forget, live.uuid, [])

    async def _unmark(self, found: Found, daemon: LibvirtDaemon | None) -> None:
        """Take libvirt's autostart mark away: a network has one owner after the next boot."""
        if daemon is not None and daemon.client() is not None:
            await daemon.ask("net-autostart", "--disable", found.name)
        else:
            with writing_files():
                self._places.autostart(found.name).unlink(missing_ok=True)

    @writing_files()
    def _copy_leases(self, tools: Workplace, found: Found, *, dry_run: bool) -> int:
        """Write libvirt's leases where our dnsmasq reads them; return how many there are.

        What a network of ours has already is newer.
        """
        if found.bridge is None or found.uuid is None:
            return 0
        files = DnsmasqFiles.of(tools.kernel.run_dir, tools.kernel.state_dir, found.uuid)
        if found.live is None and files.leases.exists():
            return 0
        text = leases_from_status(read_status(self._places.leases(found.bridge)))
        if text and not dry_run:
            files.leases.parent.mkdir(parents=True, exist_ok=True)
            files.leases.write_text(text)
        return sum(not line.startswith("duid ") for line in text.splitlines())


def _makes_bridge(found: Found) -> bool:
    """Tell whether a network of libvirt's makes its bridge."""
    network = found.stored or found.live
    return network is not None and makes_bridge(network)


def _copied(registry: Registry) -> Registry:
    """Return the networks of ``registry`` in one that may be changed, without their ports."""
    copy = Registry()
    for one in registry.networks.values():
        copy.add(NetworkRecord(one.uuid, one.name, stored=one.stored, live=one.live))
    return copy


def _without_stp(network: Network) -> Network:
    """Return the network with a bridge on which links forward at once.

    With STP each waits for twice the forward delay, which is at least 2 s; those that forward
    already go on when it is turned on.
    """
    if network.bridge is None or not network.mode.is_routed:
        return network
    return msgspec.structs.replace(
        network, bridge=msgspec.structs.replace(network.bridge, stp=False)
    )


def _described(network: Network) -> str:
    parts = [network.mode.value]
    if network.bridge is not None and network.bridge.name is not None:
        parts.append(f"on {network.bridge.name}")
    addresses = [str(item.interface) for item in network.subnets if item.interface is not None]
    return " ".join(parts) + (f" ({', '.join(addresses)})" if addresses else "")


def _members(tools: Workplace, network: Network) -> list[MemberRow]:
    """Return the links that would lose their bridge; none of a bridge that somebody else makes."""
    if not network.mode.is_routed or network.bridge is None or network.bridge.name is None:
        return []
    assert network.uuid is not None
    return [
        member_row(network.uuid, index, member)
        for index, member in tools.kernel.route.bridge_ports(network.bridge.name)
        # Older libvirts keep a bridge's address with a tap of their own, which they remove.
        if member.link != f"{network.bridge.name}-nic"
    ]


def _remember(tools: Workplace, members: list[MemberRow]) -> None:
    with tools.store.transaction():
        tools.store.put_members(members)


def _forget(tools: Workplace, network: UUID, rules: list[Resource]) -> None:
    """Take back what was prepared for a network that stays with libvirt."""
    tools.applier.dismantle(HostState(rules))
    with tools.store.transaction():
        tools.store.delete_members(network)


def _put_back(tools: Workplace, bridge: InterfaceName, members: list[MemberRow]) -> None:
    for row in members:
        link = tools.kernel.route.link(row.name)
        if link is None or link.index != row.link or link.master is not None:
            continue
        try:
            tools.applier.perform(Change(ensure=(member_port(row, bridge),)))
        except JackfieldError as error:
            log.warning("cannot put %s back on %s: %s", row.name, bridge, error)
