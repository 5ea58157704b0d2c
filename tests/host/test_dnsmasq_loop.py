"""dnsmasq on the event loop: readiness, supervision, and what is watched by inotify."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from jackfield.engine.services import Services
from jackfield.errors import KernelError, ServiceError
from jackfield.host.dnsmasq.files import DnsmasqFiles
from jackfield.host.inotify import FileEvent, Inotify
from jackfield.host.resolver import ResolverWatch, parse_resolv_conf, read_resolvers
from jackfield.host.service import process as processes
from jackfield.host.service.files import trim_log
from jackfield.host.service.process import Process
from jackfield.host.service.readiness import wait_ready
from jackfield.host.service.supervisor import Supervisor
from tests.lab.namespace import NetworkNamespace

RED = UUID("5d1f1a3e-6c1c-4d8e-9d0b-1a2b3c4d5e6f")
LIMIT = 5.0


@asynccontextmanager
async def inotify() -> AsyncIterator[Inotify]:
    """Give an inotify instance that is closed at the end."""
    instance = Inotify()
    try:
        yield instance
    finally:
        instance.close()


@pytest.fixture
def files(netns: NetworkNamespace) -> Iterator[DnsmasqFiles]:
    """Give the files of a DNS service on 10.9.0.1 of the namespace's lo."""
    netns.run(["ip", "addr", "add", "10.9.0.1/32", "dev", "lo"])
    folder = Path(tempfile.mkdtemp(prefix="jackfield-dnsmasq-"))
    folder.chmod(0o755)
    made = DnsmasqFiles.of(folder, folder, RED)
    made.make()
    made.write(
        "config",
        f"pid-file={made.pid}\nlog-facility=-\nbind-interfaces\nlisten-address=10.9.0.1\n"
        "no-resolv\nno-hosts\nuser=nobody\n",
    )
    yield made
    processes.stop(
        processes.find_processes(lambda network: DnsmasqFiles.of(folder, folder, network))
    )
    shutil.rmtree(folder)


def spawn(netns: NetworkNamespace, files: DnsmasqFiles) -> Process:
    """Start a dnsmasq in the namespace."""
    with netns.entered():
        process = processes.identify(
            files,
            processes.spawn(["/usr/sbin/dnsmasq", "--keep-in-foreground", files.mark], files.log),
        )
    assert process is not None
    return process


@pytest.mark.kernel
def test_ready_means_bound(netns: NetworkNamespace, files: DnsmasqFiles) -> None:
    """When waiting ends, the sockets are bound."""

    async def run() -> None:
        async with inotify() as instance:
            process = spawn(netns, files)
            await wait_ready(process, instance)
            assert "10.9.0.1:53" in netns.run(["ss", "-Hlnu"]).stdout
            assert "10.9.0.1:53" in netns.run(["ss", "-Hlnt"]).stdout
            # Again, of one that is long since ready.
            await wait_ready(process, instance)

    asyncio.run(run())


@pytest.mark.kernel
@pytest.mark.parametrize("delay", [0.0, 0.2])
def test_early_end_says_why(netns: NetworkNamespace, files: DnsmasqFiles, delay: float) -> None:
    """A dnsmasq that ends instead is an error with its last words, however late one asks."""
    files.write("config", "no-such-option\n")

    async def run() -> None:
        async with inotify() as instance:
            process = spawn(netns, files)
            await asyncio.sleep(delay)
            await wait_ready(process, instance)

    with pytest.raises(
        ServiceError, match=r"^dnsmasq ended: bad option at line 1 .*: no-such-option$"
    ):
        asyncio.run(run())


@pytest.mark.kernel
def test_never_ready_has_a_limit(netns: NetworkNamespace, files: DnsmasqFiles) -> None:
    """One that does not become ready is an error after the limit."""
    elsewhere = str(files.directory / "elsewhere")
    files.write("config", (files.read("config") or "").replace(str(files.pid), elsewhere))

    async def run() -> None:
        async with inotify() as instance:
            await wait_ready(spawn(netns, files), instance, timeout=0.3)

    with pytest.raises(ServiceError, match="is not ready after"):
        asyncio.run(run())


@pytest.mark.kernel
def test_death_is_noticed(netns: NetworkNamespace, files: DnsmasqFiles) -> None:
    """The supervisor reports an end once, reaps, and says nothing of one it was to forget."""
    reaped: list[int] = []

    async def run() -> None:
        dead: asyncio.Queue[Process] = asyncio.Queue()
        supervisor = Supervisor(dead.put_nowait)
        try:
            process = spawn(netns, files)
            supervisor.watch(process)
            assert (process,) == supervisor.processes(RED)
            os.kill(process.pid, 9)
            assert process == await asyncio.wait_for(dead.get(), LIMIT)
            reaped.append(process.pid)
            assert () == supervisor.processes(RED)

            # One that ended before it was watched.
            supervisor.watch(process)
            assert process == await asyncio.wait_for(dead.get(), LIMIT)

            # One that is ended on purpose.
            process = spawn(netns, files)
            supervisor.watch(process)
            supervisor.forget(RED)
            processes.stop([process])
            await asyncio.sleep(0)
            assert dead.empty()
        finally:
            supervisor.close()

    asyncio.run(run())
    with pytest.raises(ChildProcessError):
        os.waitpid(reaped[0], os.WNOHANG)


@pytest.mark.kernel
def test_what_is_ended_before_it_is_watched_has_not_died(
    netns: NetworkNamespace, files: DnsmasqFiles
) -> None:
    """Of a network that is stopped in the very turn in which its start ends, nobody is told."""

    async def run() -> None:
        dead: asyncio.Queue[tuple[UUID, str]] = asyncio.Queue()
        services = Services(lambda *told: dead.put_nowait(told), lambda *told: None)
        async with inotify() as instance:
            services.open(instance)
            try:
                process = spawn(netns, files)
                services.watch_soon([process])
                services.forget(RED)
                processes.stop([process])
                # A network that goes on dying is told of later and later.
                process = spawn(netns, files)
                await wait_ready(process, instance)
                services.watch_soon([process])
                await asyncio.sleep(0)
                os.kill(process.pid, 9)
                assert (RED, "dnsmasq ended: killed by SIGKILL") == await asyncio.wait_for(
                    dead.get(), LIMIT
                )
                assert dead.empty()
            finally:
                services.close()

    asyncio.run(run())


@pytest.mark.kernel
def test_death_of_another_ones_child_is_noticed(
    netns: NetworkNamespace, files: DnsmasqFiles
) -> None:
    """A dnsmasq that is not our child, as after a restart of the daemon, is watched as well."""

    async def run() -> None:
        # setsid(1) forks and ends, so that its child is init's.
        command = f"dnsmasq --keep-in-foreground --conf-file={files.config}"
        netns.run(["sh", "-c", f"setsid -f {command} >/dev/null 2>&1"])
        await _until(lambda: files.pid.exists())
        process = processes.running(files)
        assert process is not None
        dead: asyncio.Queue[Process] = asyncio.Queue()
        supervisor = Supervisor(dead.put_nowait)
        try:
            supervisor.watch(process)
            os.kill(process.pid, 9)
            assert process == await asyncio.wait_for(dead.get(), LIMIT)
        finally:
            supervisor.close()

    asyncio.run(run())


@pytest.mark.kernel
def test_long_log_is_cut(netns: NetworkNamespace, files: DnsmasqFiles) -> None:
    """The supervisor keeps a log short while dnsmasq goes on writing to it."""

    async def run() -> None:
        supervisor = Supervisor(lambda _: None, trim_interval=0.01)
        try:
            process = spawn(netns, files)
            supervisor.watch(process)
            async with inotify() as instance:
                await wait_ready(process, instance)
            with files.log.open("a") as log:
                log.write("a line\n" * 200_000)
            await _until(lambda: files.log.stat().st_size < 1 << 20)
            os.kill(process.pid, 1)
            await _until(lambda: files.log.read_text().startswith("dnsmasq["))
            assert (files.directory / "log.old").stat().st_size == 1 << 20
        finally:
            supervisor.close()

    asyncio.run(run())


def test_missing_log_is_no_error(tmp_path: Path) -> None:
    """There is nothing to cut where there is no log."""
    trim_log(tmp_path / "log")

    assert [] == list(tmp_path.iterdir())


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


def test_inotify_tells_watches_of_one_directory_apart(tmp_path: Path) -> None:
    """Each watch sees its own kind of change; a closed one sees nothing."""

    async def run() -> None:
        created: list[str] = []
        written: list[str] = []
        async with inotify() as instance:
            first = instance.watch(tmp_path, FileEvent.CREATE, created.append)
            second = instance.watch(tmp_path, FileEvent.CLOSE_WRITE, written.append)
            (tmp_path / "a").write_text("x")
            await _until(lambda: written == ["a"])
            assert ["a"] == created
            first.close()
            first.close()
            (tmp_path / "b").write_text("x")
            await _until(lambda: written == ["a", "b"])
            assert ["a"] == created
            second.close()

    asyncio.run(run())


def test_inotify_says_that_a_directory_is_gone(tmp_path: Path) -> None:
    """An empty name stands for a directory that went away; a missing one is an error."""

    async def run() -> None:
        seen: list[str] = []
        async with inotify() as instance:
            with pytest.raises(KernelError, match="No such file"):
                instance.watch(tmp_path / "folder", FileEvent.CREATE, seen.append)
            (tmp_path / "folder").mkdir()
            watch = instance.watch(tmp_path / "folder", FileEvent.CREATE, seen.append)
            (tmp_path / "folder").rmdir()
            await _until(lambda: seen == [""])
            watch.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("", ()),
        ("# nameserver 1.1.1.1\n; nameserver 1.1.1.1\nsearch x\n", ()),
        ("nameserver 10.0.0.1\nnameserver\t2001:db8::1 # x\n", ("10.0.0.1", "2001:db8::1")),
        ("nameserver fe80::1%eth0\nnameserver fe80::1%e/0\n", ("fe80::1%eth0",)),
        ("nameserver 10.0.0.1\nnameserver 10.0.0.1\n", ("10.0.0.1",)),
        ("nameserver example.org\nnameserver\nnameserver 10.0.0.2", ("10.0.0.2",)),
        ("nameserver 10.0.0.1#53\n", ()),
    ],
)
def test_resolv_conf(text: str, servers: tuple[str, ...]) -> None:
    """Only addresses of nameserver lines count."""
    assert servers == parse_resolv_conf(text)


def test_missing_resolv_conf(tmp_path: Path) -> None:
    """Without a file there is no server."""
    assert () == read_resolvers(tmp_path / "none")


def _rewrite(path: Path) -> None:
    path.write_text("nameserver 10.0.0.2\n")


def _replace(path: Path) -> None:
    new = path.with_name("new")
    new.write_text("nameserver 10.0.0.2\n")
    new.rename(path)


def _replace_target(path: Path) -> None:
    _replace(path.resolve())


def _relink(path: Path) -> None:
    other = path.parent.parent / "other"
    other.mkdir()
    (other / "conf").write_text("nameserver 10.0.0.2\n")
    path.unlink()
    path.symlink_to(other / "conf")


@pytest.mark.parametrize("change", [_rewrite, _replace, _replace_target, _relink])
def test_change_of_resolv_conf_is_told(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """A resolver configuration behind a link is seen to change however that is done."""
    for name in ("etc", "run"):
        (tmp_path / name).mkdir()
    (tmp_path / "run" / "conf").write_text("nameserver 10.0.0.1\n")
    path = tmp_path / "etc" / "resolv.conf"
    path.symlink_to(tmp_path / "run" / "conf")

    async def run() -> None:
        told = asyncio.Event()
        async with inotify() as instance:
            watch = ResolverWatch(instance, told.set, path)
            change(path)
            await asyncio.wait_for(told.wait(), LIMIT)
            assert ("10.0.0.2",) == read_resolvers(path)
            # And once more, wherever the file is now.
            told.clear()
            path.resolve().write_text("nameserver 10.0.0.3\n")
            await asyncio.wait_for(told.wait(), LIMIT)
            watch.close()

    asyncio.run(run())
