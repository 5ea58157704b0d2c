"""The libvirt door on a real socket, with an engine of dictionaries behind it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from jackfield.config import Config
from jackfield.document.update.request import Command, Section
from jackfield.engine.metadata import MetadataType
from jackfield.engine.views import NetworkView, PortView
from jackfield.errors import PortNotFound
from jackfield.listener import listen
from jackfield.model.bandwidth import Bandwidth
from jackfield.model.network import Network
from jackfield.model.port import Port
from jackfield.model.uplink import Uplink
from jackfield.model.values import NetworkName
from jackfield.rpc.server import RpcServer
from tests.rpc.client import RawClient
from tests.web.fake import FakeEngine

__all__ = ["Served", "serve"]


class RpcEngine(FakeEngine):
    """Networks and ports in memory; ``gate`` holds up every start until it is set."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[UUID, PortView] = {}
        self.order: list[str] = []

    def network_name(self, ref: str | UUID) -> NetworkName:
        return self.network(str(ref)).name

    async def start(self, ref: str | UUID) -> NetworkView:
        self.order.append("start")
        view = await super().start(ref)
        self.order.append("started")
        return view

    async def stop(self, ref: str | UUID) -> NetworkView:
        self.order.append("stop")
        return await super().stop(ref)

    async def undefine(self, ref: str | UUID, *, with_ports: bool = False) -> NetworkView | None:
        return await super().undefine(ref)

    async def create(self, network: Network) -> NetworkView:
        await self.define(network)
        return await self.start(network.name)

    async def update(
        self,
        ref: str | UUID,
        section: Section,
        command: Command,
        parent_index: int,
        text: str,
        *,
        live: bool,
        config: bool,
    ) -> NetworkView:
        return self.network(ref)

    async def set_metadata(
        self,
        ref: str | UUID,
        kind: MetadataType,
        text: str | None,
        *,
        key: str | None,
        uri: str | None,
        live: bool,
        config: bool,
    ) -> NetworkView:
        view = self.network(ref)
        self.emit("network-metadata", view, type=kind.name.lower(), **({"uri": uri} if uri else {}))
        return view

    def affected(self, ref: str | UUID, *, live: bool, config: bool) -> Network:
        return self.network(ref).current

    def connections(self, network: Network) -> Mapping[Uplink, int]:
        return {}

    def port_uuids(self, network: UUID) -> list[UUID]:
        return [uuid for uuid, view in self.made.items() if view.network_uuid == network]

    def port(self, uuid: UUID) -> PortView:
        if uuid not in self.made:
            raise PortNotFound(f"no port {uuid}")
        return self.made[uuid]

    async def create_port(self, ref: str | UUID, port: Port, *, reclaim: bool) -> PortView:
        view = self.network(ref)
        assert port.uuid is not None
        self.made[port.uuid] = PortView(
            port=port, network=view.name, network_uuid=view.uuid, realiser="client"
        )
        return self.made[port.uuid]

    async def limit_port(self, uuid: UUID, bandwidth: Bandwidth | None) -> PortView:
        view = self.port(uuid)
        changed = msgspec.structs.replace(view.port, bandwidth=bandwidth)
        self.made[uuid] = msgspec.structs.replace(view, port=changed)
        return self.made[uuid]


@dataclasses.dataclass(frozen=True)
class Served:
    """A server at work: its engine, and the loop that it runs on."""

    engine: RpcEngine
    server: RpcServer
    loop: asyncio.AbstractEventLoop
    directory: Path

    def client(self, *, read_only: bool = False) -> RawClient:
        """Return a connection that is not opened."""
        return RawClient(self.directory / ("ro" if read_only else "rw"))

    def call(self, function: Any, *arguments: object) -> None:
        """Call ``function`` on the server's loop."""
        self.loop.call_soon_threadsafe(function, *arguments)


@contextlib.contextmanager
def serve(config: Config | None = None) -> Iterator[Served]:
    """Serve a fake engine in a thread of its own."""
    with tempfile.TemporaryDirectory(prefix="jackfield-rpc-") as name:
        directory = Path(name)
        started = threading.Event()
        served: list[Served] = []
        stop: list[asyncio.Event] = []

        async def work() -> None:
            engine = RpcEngine()
            settings = config or Config(run_dir=directory, group=os.getgid())
            server = RpcServer(engine, settings)
            server.open()
            await server.listen(listen(directory / "rw"))
            await server.listen_read_only(listen(directory / "ro"))
            stop.append(asyncio.Event())
            served.append(Served(engine, server, asyncio.get_running_loop(), directory))
            started.set()
            await stop[0].wait()
            if engine.gate is not None:
                engine.gate.set()
            await server.close()

        thread = threading.Thread(target=lambda: asyncio.run(work()))
        thread.start()
        try:
            assert started.wait(10), "the server did not start"
            yield served[0]
        finally:
            if served and thread.is_alive():
                served[0].call(stop[0].set)
            thread.join(30)
            assert not thread.is_alive(), "the server did not end"
