"""An engine of dictionaries, and a real HTTP server on a real socket in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
import tempfile
import threading
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from jackfield.allocation.check import Verdict, check_guest
from jackfield.allocation.usage import Usage
from jackfield.client import Client
from jackfield.config import Config
from jackfield.diagnosis.finding import Examination, Finding
from jackfield.engine.events import EventLog
from jackfield.engine.views import (
    AttachRequest,
    Event,
    LeaseView,
    MigrationStep,
    NetworkView,
    PortView,
)
from jackfield.errors import JackfieldError, NetworkNotFound, PortNotFound, WrongState
from jackfield.listener import listen
from jackfield.model.address import Address
from jackfield.model.guest import Guest
from jackfield.model.network import Network
from jackfield.model.port import NetworkPlug, Owner, Port, VdePlug
from jackfield.model.values import InterfaceName, MacAddress, Text
from jackfield.state.facts import Facts
from jackfield.state.plan import PlanStep
from jackfield.web.server import WebServer

__all__ = ["FakeEngine", "Served", "serve"]


class FakeEngine:
    """Networks in memory.  ``gate`` holds up every start until it is set."""

    def __init__(self) -> None:
        self.events = EventLog()
        self.gate: asyncio.Event | None = None
        self.waiting = threading.Event()
        self.found: dict[str, NetworkView] = {}
        self.plugged: dict[str, PortView] = {}
        self.leased: list[LeaseView] = []
        self.asked: list[AttachRequest] = []
        self.diagnosed: list[Finding] = []

    def emit(self, kind: str, view: NetworkView, **detail: str) -> None:
        number = self.events.last + 1
        self.events.add(
            Event(
                number=number,
                time=1_700_000_000.5 + number,
                type=kind,
                network=view.name,
                uuid=view.uuid,
                detail=detail,
            )
        )

    def networks(self) -> list[NetworkView]:
        return list(self.found.values())

    def network(self, ref: str | uuid.UUID) -> NetworkView:
        for view in self.found.values():
            if ref in {view.name, view.uuid, str(view.uuid)}:
                return view
        raise NetworkNotFound(f"there is no network {ref!r}", hint="see: jackfield list --all")

    def _keep(self, view: NetworkView) -> NetworkView:
        self.found[view.name] = view
        return view

    async def hindrance(self, ref: str) -> str | None:
        """Know of none."""
        return None

    async def define(self, network: Network) -> NetworkView:
        known = self.found.get(network.name)
        identity = network.uuid or (known.uuid if known else uuid.uuid4())
        complete = msgspec.structs.replace(network, uuid=identity)
        if known:
            view = msgspec.structs.replace(known, stored=complete)
        else:
            view = NetworkView(
                name=network.name,
                uuid=identity,
                active=False,
                autostart=False,
                stored=complete,
                live=None,
            )
        self.emit("network-defined", view)
        return self._keep(view)

    async def apply(
        self, network: Network, *, transient: bool = False
    ) -> tuple[NetworkView, list[PlanStep]]:
        steps = await self.plan(network.name, network)
        view = await self.define(network)
        stored = None if transient else view.stored
        view = msgspec.structs.replace(view, active=True, live=view.stored, stored=stored)
        return self._keep(view), steps

    async def apply_stored(
        self, ref: str, *, live: bool = False
    ) -> tuple[NetworkView, list[PlanStep]]:
        if live:
            return self.network(ref), []
        stored = self.network(ref).stored
        assert stored is not None
        return await self.apply(stored)

    async def examine(self, refs: Collection[str] = ()) -> Examination:
        known = [self.network(ref) for ref in refs] or list(self.found.values())
        names = tuple(view.name for view in known if view.active or refs)
        findings = tuple(item for item in self.diagnosed if item.network in names)
        return Examination(networks=names, findings=findings)

    def check_guest(self, guest: Guest) -> tuple[Verdict, ...]:
        return check_guest(guest, {}, Facts(), Usage())

    async def undefine(self, ref: str | uuid.UUID) -> NetworkView | None:
        view = self.network(ref)
        if view.live is not None:
            return self._keep(msgspec.structs.replace(view, stored=None))
        del self.found[view.name]
        return None

    async def start(self, ref: str | uuid.UUID) -> NetworkView:
        view = self.network(ref)
        if view.active:
            raise WrongState(f"network {view.name!r} is running already")
        if self.gate is not None:
            self.waiting.set()
            await self.gate.wait()
        view = msgspec.structs.replace(view, active=True, live=view.stored)
        self.emit("network-started", view)
        return self._keep(view)

    async def stop(self, ref: str | uuid.UUID) -> NetworkView:
        view = msgspec.structs.replace(self.network(ref), active=False, live=None)
        self.emit("network-stopped", view)
        return self._keep(view)

    async def set_autostart(self, ref: str | uuid.UUID, autostart: bool) -> NetworkView:
        return self._keep(msgspec.structs.replace(self.network(ref), autostart=autostart))

    async def plan(self, ref: str, network: Network | None = None) -> list[PlanStep]:
        view = self.found.get(ref)
        if network is None and self.network(ref).active:
            return []
        wanted = network or (view.stored if view else None)
        if wanted is None or (view and view.live == wanted):
            return []
        return [
            PlanStep(action="create", kind="bridge", key="link:virbr7", text="bridge virbr7"),
            PlanStep(action="change", kind="rules", key="rules:virbr7", text="4 firewall rules"),
            PlanStep(action="remove", kind="route", key="route:x", text="route to 10.0.0.0/8"),
        ]

    async def ports(self, ref: str | uuid.UUID | None = None) -> list[PortView]:
        name = None if ref is None else self.network(ref).name
        return [port for port in self.plugged.values() if name in {None, port.network}]

    async def attach(self, ref: str, request: AttachRequest) -> PortView:
        view = self.network(ref)
        self.asked.append(request)
        device = request.tap or InterfaceName(f"jf{len(self.plugged)}")
        port = Port(
            uuid=uuid.uuid4(),
            owner=Owner(name=request.name or Text("somebody"), uuid=uuid.uuid4()),
            mac=request.mac or MacAddress("52:54:00:00:00:01"),
            group=request.portgroup,
            plug=VdePlug(path=Text("/run/jackfield/vde/red"))
            if request.vde
            else NetworkPlug(bridge=InterfaceName("virbr7")),
        )
        self.plugged[device] = PortView(
            port=port,
            network=view.name,
            network_uuid=view.uuid,
            realiser="jackfield",
            device=None if request.vde else device,
            netns=request.netns,
            ifname=request.ifname,
        )
        return self.plugged[device]

    async def detach_all(self, ref: str) -> int:
        """Forget the ports of a network."""
        gone = {view.device for view in await self.ports(ref)}
        self.plugged = {name: view for name, view in self.plugged.items() if name not in gone}
        return len(gone)

    async def open_port(self, port: str) -> list[int]:
        """Open nothing."""
        return []

    async def detach(self, port: str | uuid.UUID) -> None:
        if str(port) not in self.plugged:
            raise PortNotFound(f"there is no port {str(port)!r}")
        del self.plugged[str(port)]

    async def leases(self, ref: str | uuid.UUID | None = None) -> list[LeaseView]:
        name = None if ref is None else self.network(ref).name
        return [lease for lease in self.leased if name in {None, lease.network}]

    async def import_libvirt(
        self, ref: str | None, *, dry_run: bool, own_sockets: Collection[Path]
    ) -> list[MigrationStep]:
        return [
            MigrationStep(network=ref or "red", text="defined", done=not dry_run),
            *([MigrationStep(network="blue", text="why", refused=True)] if ref is None else []),
        ]

    async def export_libvirt(
        self, ref: str | None, *, as_bridge: bool, dry_run: bool, own_sockets: Collection[Path]
    ) -> list[MigrationStep]:
        return []

    def lease(self, network: str, address: Address) -> None:
        view = self.network(network)
        self.leased.append(
            LeaseView(
                network=view.name,
                device=InterfaceName("virbr7"),
                mac=MacAddress("52:54:00:00:00:01"),
                address=address,
                prefix=24,
                expires=0,
                hostname="red-guest",
            )
        )


@dataclasses.dataclass(kw_only=True)
class Served:
    """A server at work: its engine, a client of it, and the loop that it runs on."""

    engine: FakeEngine
    server: WebServer
    loop: asyncio.AbstractEventLoop
    run_dir: Path

    @property
    def client(self) -> Client:
        return Client(self.run_dir)

    def call(self, function: object, *arguments: object) -> None:
        """Call ``function`` on the server's loop."""
        assert callable(function)
        self.loop.call_soon_threadsafe(function, *arguments)


@contextlib.contextmanager
def serve(config: Config | None = None) -> Iterator[Served]:
    """Serve a fake engine in a thread of its own, on a socket that every user can reach."""
    run_dir = Path(tempfile.mkdtemp(prefix="jackfield-web-"))
    run_dir.chmod(0o755)
    started = threading.Event()
    served: list[Served] = []

    async def work() -> None:
        engine = FakeEngine()
        listener = listen(run_dir / "api.sock")
        server = WebServer(engine, config or Config(run_dir=run_dir))
        loop = asyncio.get_running_loop()
        served.append(Served(engine=engine, server=server, loop=loop, run_dir=run_dir))
        started.set()
        await server.serve(sockets=[listener])

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        assert started.wait(10), "the server did not start"
        yield served[0]
    finally:
        if served and thread.is_alive():
            # Its answer means that every connection made before it has been taken up; one that
            # is half taken up when the loop ends would be left open.
            with contextlib.suppress(JackfieldError):
                served[0].client.request("GET", "/v1/version")
            # One that the test has stopped itself may have ended meanwhile, and its loop with it.
            with contextlib.suppress(RuntimeError):
                served[0].call(served[0].server.stop)
        thread.join(20)
        shutil.rmtree(run_dir)
        assert not thread.is_alive(), "the server did not stop"
