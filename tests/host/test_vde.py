"""VDE switches with real clients: who may plug in, and what is left when they end.

::

    host ── br0 10.1.0.1/24 ── jfv… (tap) ── vde_switch ── vde_plug2tap ── eth0 10.1.0.2 ── guest
"""

from __future__ import annotations

import asyncio
import ctypes
import dataclasses
import grp
import os
import pwd
import socket
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest

from jackfield.errors import MissingFeature, NotFound, ServiceError
from jackfield.host.applier import Applier
from jackfield.host.drivers import make_drivers
from jackfield.host.kernel import Kernel
from jackfield.host.openvswitch.database import Database
from jackfield.host.service import process as processes
from jackfield.host.service.driver import ServiceDriver
from jackfield.host.service.process import Process
from jackfield.host.vde.driver import VdeSwitchDriver
from jackfield.host.vde.files import SwitchFiles
from jackfield.host.vde.identity import acting_as, remove_tree
from jackfield.model.mode import Mode
from jackfield.model.network import Bridge, Network, Vde
from jackfield.model.values import InterfaceName, NetworkName, Text
from jackfield.plan.network import plan_network
from jackfield.state.hoststate import Change, HostState
from jackfield.state.services import VdeSwitch
from tests.host.records import MemoryRecords
from tests.host.services import until_ready
from tests.lab.host import Host
from tests.lab.packets import ping
from tests.lab.wait import wait_for

pytestmark = pytest.mark.kernel

RED = UUID("5d1f1a3e-6c1c-4d8e-9d0b-1a2b3c4d5e6f")
TAP = "jfv5d1f1a3e6c"
USER = pwd.getpwnam("vde2-net")
#: A group that every Debian has, and a user that is in no group of its.
GROUP = grp.getgrnam("audio")
STRANGER = pwd.getpwnam("games")

CLONE_FS, CLONE_NEWNS, CLONE_NEWNET = 0x200, 0x20000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000

T = TypeVar("T")

libc = ctypes.CDLL(None, use_errno=True)


class Site:
    """A host with a bridge on which a switch is to hang, and what acts there."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        self.folder = folder
        for command in (
            "ip link add br0 type bridge stp_state 0",
            "ip addr add 10.1.0.1/24 dev br0",
            "ip link set br0 up",
        ):
            host.run(command.split())
        host.open_tun()
        self._thread = ThreadPoolExecutor(1, initializer=self._enter)
        self.driver = VdeSwitchDriver()
        self.files = SwitchFiles.of(folder, RED)
        self.kernel = self.run(lambda: Kernel.open(folder))
        services: dict[str, ServiceDriver[Any, Any]] = {"vde-switch": self.driver}
        self.applier = Applier(self.kernel, make_drivers(services, Database(), MemoryRecords()))

    def _enter(self) -> None:
        """Take the thread to the host's network, and to a /dev/net/tun that is open to all."""
        unshared = libc.unshare(CLONE_FS | CLONE_NEWNS)
        private = libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
        mounted = libc.mount(b"none", b"/dev/net", b"tmpfs", 0, None)
        assert [0, 0, 0] == [unshared, private, mounted]
        os.mknod("/dev/net/tun", stat.S_IFCHR, os.makedev(10, 200))
        Path("/dev/net/tun").chmod(0o666)
        with self.host.path.open("rb") as network:
            assert 0 == libc.setns(network.fileno(), CLONE_NEWNET)

    def run(self, work: Callable[[], T]) -> T:
        """Return the result of ``work``, done on the host by a thread of its own."""
        return self._thread.submit(work).result()

    def ensure(self, state: HostState) -> Process:
        """Make ``state`` so, wait until its switch serves, and return that."""
        service = switch_of(state)

        def make() -> Process:
            self.driver.prepare(self.kernel, [service])
            self.applier.mend(list(state.values()))
            process = self.driver.launched(self.kernel, service.network)
            asyncio.run(until_ready(process))
            return process

        return self.run(make)

    def remove(self, state: HostState) -> None:
        """Take ``state`` apart."""
        self.run(lambda: self.applier.dismantle(state))

    def close(self) -> None:
        """End every switch of this test, recorded or not."""
        processes.stop(self.driver.find(self.kernel))
        remove_tree(self.files.socket)
        self.kernel.close()
        self._thread.shutdown()


@pytest.fixture
def site(host: Host, folder: Path) -> Iterator[Site]:
    """Give a host with a bridge."""
    place = Site(host, folder)
    yield place
    place.close()


def red(group: str | None = GROUP.gr_name) -> HostState:
    """Return what a network on the bridge with a switch wants."""
    network = Network(
        name=NetworkName("red"),
        uuid=RED,
        mode=Mode.BRIDGE,
        bridge=Bridge(name=InterfaceName("br0")),
        vde=Vde(group=None if group is None else Text(group)),
    )
    return plan_network(network, vde_user=USER.pw_uid)


def switch_of(state: HostState) -> VdeSwitch:
    """Return the switch of a host state."""
    (service,) = [item for item in state.values() if isinstance(item, VdeSwitch)]
    return service


def access(path: Path) -> tuple[str, str, str]:
    """Return a file's mode, owner and group as ``ls`` shows them."""
    found = path.stat()
    owner, group = pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid).gr_name
    return stat.filemode(found.st_mode), owner, group


def status(process: Process) -> dict[str, str]:
    """Return the fields of ``/proc/PID/status``."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_the_switch_is_on_the_bridge_and_open_to_its_group(site: Site) -> None:
    """Its tap is up on the bridge; socket and directory have the group and the modes."""
    process = site.ensure(red())

    (link,) = site.host.ip("link", "show", "dev", TAP)
    assert "br0" == link["master"]
    wait_for(lambda: "LOWER_UP" in site.host.ip("link", "show", "dev", TAP)[0]["flags"], 5, "tap")
    assert "fe:5d:1f:1a:3e:6c" == link["address"]
    assert ("drwxrwx--T", "vde2-net", "audio") == access(site.files.socket)
    assert ("srw-rw----", "vde2-net", "audio") == access(site.files.socket / "ctl")
    assert ("drwxrwx--t", "root", "vde2-net") == access(site.files.socket.parent)
    told = status(process)
    assert {str(USER.pw_uid)} == set(told["Uid"].split())
    assert {str(USER.pw_gid)} == set(told["Gid"].split())
    assert [str(GROUP.gr_gid)] == told["Groups"].split()
    assert {"0000000000000000"} == {told[f"Cap{one}"] for one in ("Inh", "Prm", "Eff", "Amb")}
    assert "1" == told["NoNewPrivs"]


def test_without_a_group_it_is_roots(site: Site) -> None:
    """Nobody but the switch's own user and root may plug in."""
    process = site.ensure(red(None))

    assert ("drwx-----T", "vde2-net", "vde2-net") == access(site.files.socket)
    assert ("srw-------", "vde2-net", "vde2-net") == access(site.files.socket / "ctl")
    assert "" == status(process)["Groups"]


def test_a_member_of_the_group_reaches_the_bridge(site: Site) -> None:
    """An unprivileged user of the group speaks through it with the host; a stranger may not."""
    site.ensure(red())
    guest = site.host.guest("guest")
    guest.run(["ip", "tuntap", "add", "eth0", "mode", "tap", "user", "games"])
    guest.run(["ip", "addr", "add", "10.1.0.2/24", "dev", "eth0"])
    guest.run(["ip", "link", "set", "eth0", "up"])

    def plug(groups: str) -> list[str]:
        return [
            *("ip", "netns", "exec", "guest"),
            *("setpriv", "--reuid=games", f"--regid={STRANGER.pw_gid}", groups),
            *("vde_plug2tap", f"--sock={site.files.socket}", "eth0"),
        ]

    refused = site.host.run(plug("--clear-groups"), check=False)
    assert 0 != refused.returncode
    assert "Permission denied" in refused.stderr
    client = site.host.start(plug("--groups=audio"))
    try:
        assert ping(guest, "10.1.0.1", tries=10) is not None
    finally:
        client.stop()


def test_ensuring_again_changes_nothing(site: Site) -> None:
    """The same switch again is the same process, socket and files."""
    before = site.ensure(red())
    inode = (site.files.socket / "ctl").stat().st_ino

    change, foreign = site.run(lambda: site.applier.mend(list(red().values())))

    assert (Change(), []) == (change, foreign)
    assert before.pid == site.ensure(red()).pid
    assert inode == (site.files.socket / "ctl").stat().st_ino


def test_another_group_is_another_process(site: Site) -> None:
    """The group that it was started for cannot change while it runs."""
    before = site.ensure(red())

    after = site.ensure(red("video"))

    assert before.pid != after.pid
    assert not before.is_alive()
    assert ("srw-rw----", "vde2-net", "video") == access(site.files.socket / "ctl")


def test_a_killed_switch_is_started_again(site: Site) -> None:
    """What it left is no hindrance, and the new one serves."""
    before = site.ensure(red())
    os.kill(before.pid, 9)
    before.reap()
    wait_for(lambda: not before.is_alive(), 5, "the end of the process")
    assert (site.files.socket / "ctl").exists()

    after = site.ensure(red())

    assert before.pid != after.pid
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(site.files.socket / "ctl"))


def test_it_goes_with_its_tap(site: Site) -> None:
    """A tap that somebody removed is made anew, and has a new switch."""
    before = site.ensure(red())
    site.host.run(["ip", "link", "del", TAP])

    after = site.ensure(red())

    assert before.pid != after.pid
    assert not before.is_alive()
    wait_for(lambda: "LOWER_UP" in site.host.ip("link", "show", "dev", TAP)[0]["flags"], 5, "tap")


def test_removing_leaves_nothing(site: Site) -> None:
    """Process, tap and files are gone, whatever its users put into its directory."""
    process = site.ensure(red())
    with acting_as(STRANGER.pw_uid, GROUP.gr_gid):
        (site.files.socket / "mine").mkdir(mode=0o700)
        (site.files.socket / "mine" / "file").write_text("")
        (site.files.socket / "link").symlink_to(site.folder)
    assert os.geteuid() == (site.folder.stat()).st_uid

    site.remove(red())

    assert not process.is_alive()
    assert {"lo", "br0"} == site.host.links()
    assert not site.files.directory.exists()
    assert not site.files.socket.exists()
    site.remove(red())


def test_an_orphan_is_found_and_adopted(site: Site) -> None:
    """A switch that was started and not recorded is found by its command line."""
    process = site.ensure(red())
    site.files.process.unlink(missing_ok=True)
    driver = VdeSwitchDriver()

    (adopted,) = driver.adopt_orphans(site.kernel)

    assert process.pid == adopted.pid
    assert adopted == driver.running(site.kernel, RED)
    assert [] == driver.adopt_orphans(site.kernel)


def test_a_switch_without_its_tap_is_an_error(site: Site) -> None:
    """It would serve its guests and lead nowhere, so it does not count as started."""
    state = red()
    service = dataclasses.replace(switch_of(state), tap=InterfaceName("br0"))

    def make() -> None:
        site.driver.ensure(site.kernel, [service], {})
        asyncio.run(until_ready(site.driver.launched(site.kernel, RED)))

    with pytest.raises(ServiceError, match="could not open its tap: ERROR OPENING tap"):
        site.run(make)


def test_what_is_missing_is_said_before_anything_is_made(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group, the user, a closed device and the program are named, each with what to do."""
    service = switch_of(red())

    def prepare(wanted: VdeSwitch) -> None:
        site.run(lambda: site.driver.prepare(site.kernel, [wanted]))

    with pytest.raises(NotFound, match="group='wheelies'>: there is no such group"):
        prepare(dataclasses.replace(service, group=Text("wheelies")))
    with pytest.raises(NotFound, match="no user 4711"):
        prepare(dataclasses.replace(service, user=4711))
    site.run(lambda: Path("/dev/net/tun").chmod(0o600))
    with pytest.raises(ServiceError, match="/dev/net/tun is closed to its user"):
        prepare(service)
    processes.find_program.cache_clear()
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        with pytest.raises(MissingFeature, match="vde_switch is not installed") as caught:
            prepare(service)
    assert caught.value.hint is not None
    assert "vde2" in caught.value.hint
    assert {"lo", "br0"} == site.host.links()
    assert [] == list(site.folder.iterdir())


def test_too_long_a_path_is_an_error(site: Site) -> None:
    """A socket whose path the kernel would cut is refused."""
    deep = site.folder / ("d" * 60)
    deep.mkdir()
    kernel = dataclasses.replace(site.kernel, run_dir=deep)

    with pytest.raises(ServiceError, match="107 bytes"):
        site.run(lambda: site.driver.ensure(kernel, [switch_of(red())], {}))
