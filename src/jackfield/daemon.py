"""jackfieldd: puts the parts together and runs until it is told to end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from jackfield import __version__, config, notify, openfiles
from jackfield import log as logs
from jackfield.attentive import new_event_loop
from jackfield.client import LOCK_ADDRESS
from jackfield.config import Config, TlsConfig
from jackfield.engine.engine import Engine
from jackfield.engine.parts import Parts
from jackfield.errors import AccessDenied, ConfigurationError, JackfieldError, WrongState
from jackfield.listener import Listeners
from jackfield.rpc.credentials import Credentials
from jackfield.rpc.server import RpcServer
from jackfield.rpc.tls import listen_tls
from jackfield.web.descriptors import DescriptorDoor
from jackfield.web.server import WebServer

__all__ = ["main", "run"]

log = logging.getLogger("jackfield.daemon")

_LOCK_PATIENCE = 0.5
_NET_ADMIN = 12  # CAP_NET_ADMIN in linux/capability.h
_MADE_BEFORE_COLLECTING = 10_000
"""How many more objects are made than freed before the youngest are looked at."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon in the foreground; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="jackfieldd", description="Manage the networks of virtual machines on this host."
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"TOML configuration (default: {config.DEFAULT_PATH}, if it exists)",
    )
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        help=f"database and DHCP leases (default: {Config().state_dir})",
    )
    parser.add_argument(
        "--run-dir",
        metavar="DIR",
        help=f"sockets and what dies with a boot (default: {Config().run_dir})",
    )
    parser.add_argument("--version", action="version", version=f"jackfieldd {__version__}")
    arguments = parser.parse_args(argv)
    try:
        settings = config.load(
            arguments.config,
            {"state_dir": arguments.state_dir, "run_dir": arguments.run_dir},
        )
        logs.configure(settings.log_level)
        _refuse_without_privilege()
        openfiles.raise_limit()
        with _only_daemon_here(), asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(run(settings))
    except JackfieldError as error:
        sys.stderr.write(f"jackfieldd: error: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"  hint: {error.hint}\n")
        return error.exit_status
    return 0


async def run(settings: Config) -> None:
    """Serve until SIGTERM or SIGINT; a started operation is finished before the end."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    _prepare(settings.run_dir, mode=0o755)
    _prepare(settings.state_dir, mode=0o711)
    parts = Parts(
        run_dir=settings.run_dir,
        state_dir=settings.state_dir,
        dnsmasq_user=settings.dnsmasq_user,
        vde_user=settings.vde_user,
        autostart=settings.autostart,
        hooks_dir=settings.hooks_dir,
        hook_timeout=settings.hook_timeout,
        openvswitch_socket=settings.openvswitch_socket,
        virtual_functions=settings.virtual_functions,
        take_managed_uplinks=settings.take_managed_uplinks,
        gateway_timeout=settings.gateway_timeout,
        switch_timeout=settings.switch_timeout,
    )
    await parts.open(stop)
    _spare_collector()
    try:
        if stop.is_set():
            notify.stopping()
            log.info("ending before it served")
        else:
            await _serve(Engine(parts), settings, stop)
    finally:
        await parts.close()


def _spare_collector() -> None:
    """Have the garbage collector pass by what is there now: most of it stays until the end.

    To look at all of it takes 40 ms with 10,000 ports, in which nobody gets an answer.  What a
    call makes is freed without the collector, so it need not look as often either.
    """
    gc.freeze()
    gc.set_threshold(_MADE_BEFORE_COLLECTING)


async def _serve(engine: Engine, settings: Config, stop: asyncio.Event) -> None:
    """Answer at the socket until ``stop`` is set; changes under way are finished first."""
    path = settings.run_dir / "api.sock"
    # Whatever is wrong with it is told before anything is served.
    tls = None if settings.tls is None else _tls_door(settings.tls)
    server = WebServer(engine, settings)
    libvirt = RpcServer(engine, settings)
    descriptors = DescriptorDoor(engine, settings, server.operations)
    listeners = Listeners()
    handed_over = notify.listen_fds()
    serving = asyncio.create_task(
        server.serve(sockets=handed_over or [listeners.add(path, server.listen)])
    )
    alive = asyncio.create_task(_tell_alive())
    stopping = asyncio.create_task(stop.wait())
    doors = [settings.libvirt_path, settings.libvirt_ro_path]
    for door in doors:
        _prepare(door.parent, mode=0o755)
    await descriptors.listen(
        listeners.add(settings.run_dir / "fd.sock", descriptors.listen, socket.SOCK_SEQPACKET)
    )
    libvirt.open()
    await libvirt.listen(listeners.add(doors[0], libvirt.listen))
    await libvirt.listen_read_only(listeners.add(doors[1], libvirt.listen_read_only))
    if tls is not None:
        await libvirt.open_tls(*tls)
    keeping = asyncio.create_task(listeners.keep())
    log.info("serving", extra={"socket": str(path)})
    notify.ready(f"serving at {path}")
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    notify.stopping()
    log.info("ending")
    keeping.cancel()
    server.stop()
    stopping.cancel()
    await libvirt.close()
    await descriptors.close()
    # A socket at which nobody answers keeps libvirt's clients from looking elsewhere.
    listeners.remove(*doors)
    await serving
    alive.cancel()


def _tls_door(tls: TlsConfig) -> tuple[socket.socket, Credentials, Sequence[str] | None]:
    """Return where clients connect with TLS, how they are checked, and who is let in."""
    credentials = Credentials(tls)
    return listen_tls(tls.address, tls.port), credentials, tls.allowed


async def _tell_alive() -> None:
    """Tell a service manager that asks for it, every so often, that the loop turns."""
    interval = notify.watchdog_interval()
    while interval is not None:
        notify.watchdog()
        await asyncio.sleep(interval)


def _prepare(directory: Path, *, mode: int) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=mode)
    except OSError as error:
        raise ConfigurationError(f"cannot make {directory}: {error.strerror}") from error


def _refuse_without_privilege() -> None:
    """Raise ``AccessDenied`` for whom the kernel would refuse everything, one by one."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    if not effective >> _NET_ADMIN & 1:
        raise AccessDenied(
            "no permission to manage networks: the capability CAP_NET_ADMIN is missing",
            hint="start jackfieldd as root, or as packaging/jackfieldd.service does",
        )


@contextlib.contextmanager
def _only_daemon_here() -> Iterator[None]:
    """Hold the network namespace's lock: an abstract socket, which exists once in each.

    A daemon that was killed while it started a program may leave it held for an instant: until
    that program has got rid of what it inherited.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
        limit = time.monotonic() + _LOCK_PATIENCE
        while True:
            try:
                lock.bind(LOCK_ADDRESS)
                break
            except OSError as error:
                if time.monotonic() > limit:
                    raise WrongState(
                        "another jackfieldd runs in this network namespace",
                        hint="one daemon manages a network namespace; stop the other one first",
                    ) from error
            time.sleep(0.01)
        yield


if __name__ == "__main__":
    sys.exit(main())
