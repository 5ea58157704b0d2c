"""Our definitions given back to libvirt, with their autostart marks and leases; and stand-ins."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import msgspec

from jackfield.document.additions import additions
from jackfield.document.libvirt import write_network
from jackfield.engine.leases.leases import parse_leases
from jackfield.engine.libvirt.daemon import LibvirtDaemon
from jackfield.engine.libvirt.files import (
    Found,
    Places,
    read_installation,
    status_from_leases,
    write_definition,
    writing_files,
)
from jackfield.engine.longdocuments import aside
from jackfield.engine.ports.clients import CLIENT
from jackfield.engine.ports.lifecycle import Ports
from jackfield.engine.records import NetworkRecord
from jackfield.engine.registry import Registry
from jackfield.engine.views import MigrationStep
from jackfield.engine.workplace import Workplace
from jackfield.errors import AlreadyExists, HostError, JackfieldError, WrongState, counted
from jackfield.host.dnsmasq.files import DnsmasqFiles
from jackfield.host.thread import KernelThread
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.plan.network import bridge_of
from jackfield.plan.standin import stand_in, stands_in

__all__ = ["Giveback"]


class Giveback:
    """Writes what we have stored to where libvirt reads it, or has its daemon define it."""

    def __init__(
        self, registry: Registry, thread: KernelThread[Workplace], ports: Ports, places: Places
    ) -> None:
        """Write the networks of ``registry`` to ``places``; ``ports`` may be given up."""
        self._registry = registry
        self._thread = thread
        self._ports = ports
        self._places = places

    async def run(
        self, ref: str | None, *, as_bridge: bool, dry_run: bool, own_sockets: Collection[Path]
    ) -> list[MigrationStep]:
        """Give the network ``ref``, or all that are stored; return what was done, or would be.

        With ``as_bridge`` libvirt gets stand-ins of them (``jackfield.plan.standin``).
        """
        records = (
            sorted(self._registry.networks.values(), key=lambda record: record.name)
            if ref is None
            else [self._registry.network(ref)]
        )
        known = {item.name: item for item in await asyncio.to_thread(self._read)}
        daemon = await asyncio.to_thread(LibvirtDaemon.find, self._places.sockets, own_sockets)
        names = {item.uuid: item.name for item in known.values()}
        give = self._stand_in if as_bridge else self._network
        steps = []
        for record in records:
            if record.stored is None:
                continue
            there = known.get(record.name) or Found(name=record.name)
            try:
                if (name := names.get(record.uuid, record.name)) != record.name:
                    raise AlreadyExists(f"libvirt has its uuid {record.uuid} for network {name}")
                if there.problem is not None:
                    raise HostError(
                        f"libvirt's own cannot be read, and is left alone: {there.problem}"
                    )
                if there.uuid not in {None, record.uuid}:
                    raise AlreadyExists(
                        f"libvirt has another network of this name, with uuid {there.uuid}"
                    )
                async for text in give(record, record.stored, there, daemon, dry_run=dry_run):
                    # One by one: what was done before a failure is told as well.
                    step = MigrationStep(network=record.name, text=text, done=not dry_run)
                    steps.append(step)
            except JackfieldError as error:
                steps.append(MigrationStep(network=record.name, text=error.message, refused=True))
        return steps

    def _read(self) -> list[Found]:
        return read_installation(self._places)

    async def _network(
        self,
        record: NetworkRecord,
        stored: Network,
        there: Found,
        daemon: LibvirtDaemon | None,
        *,
        dry_run: bool,
    ) -> AsyncIterator[str]:
        async for text in self._definition(
            msgspec.structs.replace(stored, connections=None),
            there,
            daemon,
            autostart=record.autostart,
            dry_run=dry_run,
        ):
            yield text
        if there.live is None or stands_in(there.live, stored):
            count = await self._thread.run(self._copy_leases, stored, dry_run=dry_run)
            if count:
                yield f"{counted(count, 'lease')} given back"

    async def _stand_in(
        self,
        record: NetworkRecord,
        stored: Network,
        there: Found,
        daemon: LibvirtDaemon | None,
        *,
        dry_run: bool,
    ) -> AsyncIterator[str]:
        """Have libvirt plug its guests into our bridge under the network's name."""
        live = there.live
        if live is not None and live.mode is not Mode.BRIDGE:
            raise WrongState(
                "libvirt runs it as its own; `jackfield import` takes it over first, or "
                "`virsh net-destroy` stops it"
            )
        wanted = stand_in(stored)
        async for text in self._definition(
            wanted, there, daemon, autostart=record.autostart, dry_run=dry_run
        ):
            yield text
        if daemon is None or not record.active:
            return
        if live is None or there.bridge != bridge_of(wanted):
            if not dry_run:
                if live is not None:
                    # Nothing is made or removed by that: libvirt only reads the name anew.
                    await daemon.ask("net-destroy", record.name)
                await daemon.ask("net-start", record.name)
            yield f"running in libvirt, whose guests are plugged into {bridge_of(wanted)}"
        for port in self._registry.ports_in_order(record.uuid):
            if port.realiser != CLIENT:
                continue
            # libvirt, which keeps its own book now, would never say that it is gone.
            owner = "" if port.port.owner is None else f" of {port.port.owner.name}"
            if not dry_run:
                await self._ports.detach(port.uuid)
            yield f"port {port.uuid}{owner} given up: libvirt has it"

    async def _definition(
        self,
        wanted: Network,
        there: Found,
        daemon: LibvirtDaemon | None,
        *,
        autostart: bool,
        dry_run: bool,
    ) -> AsyncIterator[str]:
        """Have libvirt define ``wanted``, unless it has what it would make of that."""
        # What both write alike is the same network, whatever the file looks like.
        theirs = there.stored
        text = await aside(lambda: write_network(wanted, inactive=True), wanted)
        same = theirs is not None and text == await aside(
            lambda: write_network(theirs, inactive=True), theirs
        )
        if same and there.autostart is autostart:
            return
        if not dry_run:
            await self._define(wanted, text, daemon, autostart=autostart)
        if not same:
            yield f"defined in libvirt ({self._where(wanted.name, daemon)})"
            lost = additions(wanted)
            if lost:
                yield f"libvirt does not know, and drops: {', '.join(lost)}"
        if there.autostart is not autostart:
            yield "starts with libvirt" if autostart else "no longer starts with libvirt"

    def _where(self, name: str, daemon: LibvirtDaemon | None) -> Path:
        return self._places.definition(name) if daemon is None else daemon.path

    async def _define(
        self, stored: Network, text: str, daemon: LibvirtDaemon | None, *, autostart: bool
    ) -> None:
        if daemon is None:
            await asyncio.to_thread(write_definition, self._places, stored, autostart=autostart)
            return
        await daemon.ask("net-define", "/dev/stdin", text=text)
        flags = () if autostart else ("--disable",)
        await daemon.ask("net-autostart", *flags, str(stored.name))

    @writing_files()
    def _copy_leases(self, tools: Workplace, network: Network, *, dry_run: bool) -> int:
        if network.uuid is None or network.bridge is None or network.bridge.name is None:
            return 0
        files = DnsmasqFiles.of(tools.kernel.run_dir, tools.kernel.state_dir, network.uuid)
        text = ""
        with contextlib.suppress(FileNotFoundError):
            text = files.leases.read_text(encoding="utf-8", errors="replace")
        leases = parse_leases(text, network, network.bridge.name, now=time.time())
        status = status_from_leases(text, leases)
        path = self._places.leases(network.bridge.name)
        if status and not dry_run:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(status)
        return status.count('"ip-address"')
