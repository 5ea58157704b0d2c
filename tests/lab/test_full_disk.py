"""A disk that is full when something is to be changed: it is refused, and the host is as before.

The daemon's state is on a disk of its own, which a test fills up to some space that is left; or
what its helper programs need is, on a /run that is full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from jackfield.host.service.files import trim_log
from tests.conftest import Uplink
from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.host import Host
from tests.lab.snapshot import take_snapshot
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

DISK = "/run/disk"
FILL = f"{DISK}/fill"
NAT = """
<network>
  <name>red</name>
  <forward mode='nat'/>
  <bridge name='red0' stp='off'/>
  <ip address='10.0.0.{}' prefix='24'><dhcp><range start='10.0.0.9' end='10.0.0.99'/></dhcp></ip>
</network>
"""
LAN = """
<network>
  <name>lan</name>
  <forward mode='bridge'/>
  <bridge name='br0'><uplinks><interface dev='eth0'/></uplinks></bridge>
</network>
"""


@pytest.fixture
def full(host: Host, uplink: Uplink) -> Iterator[Daemon]:
    """Give a daemon with its state on a small disk, two networks, and a namespace to plug in."""
    assert "eth0" == uplink.ifname
    settle(host)
    host.guest("a")
    host.file(DISK).mkdir()
    host.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", DISK])
    with Daemon(host, state_dir=f"{DISK}/state") as daemon:
        daemon.cli("define", daemon.document(NAT.format(1)))
        daemon.cli("define", daemon.document(LAN))
        yield daemon


def leave(host: Host, kibibytes: int) -> None:
    """Fill the disk but for so much."""
    count = f"$(($(df -k --output=avail {DISK} | tail -n 1) - {kibibytes}))"
    host.run(["sh", "-ec", f"dd if=/dev/zero of={FILL} bs=1k count={count} 2>/dev/null"])


def settle(host: Host) -> None:
    """Wait until the kernel has done with addresses what it does by itself.

    It has not begun where there is no carrier.
    """

    def checked() -> bool:
        links = host.ip("addr", "show", "tentative")
        return not any(link["addr_info"] and "LOWER_UP" in link["flags"] for link in links)

    wait_for(checked, 5, "addresses to be usable")


def refused(daemon: Daemon, *command: str) -> None:
    """Do it with ever more space: it is refused and nothing is changed, or it is done."""
    host = daemon.host
    for kibibytes in (0, 8, 12, 16, 20, 24, 32, 512):
        settle(host)
        before = take_snapshot(host)
        leave(host, kibibytes)
        result = daemon.cli(*command, check=False)
        host.file(FILL).unlink()
        if result.returncode == 0:
            assert kibibytes
            return
        assert 7 == result.returncode, result.stderr
        assert "the disk is full" in result.stderr
        settle(host)
        assert before == take_snapshot(host)
    raise AssertionError(f"{command} is never done")


@pytest.mark.parametrize(
    ("before", "command"),
    [
        ([], ["start", "red"]),
        ([], ["start", "lan"]),
        ([["start", "red"]], ["attach", "red", "--netns", "a", "--ifname", "eth0", "--name", "a"]),
        (
            [
                ["start", "red"],
                ["attach", "red", "--netns", "a", "--ifname", "eth0", "--name", "a"],
            ],
            ["detach", "a"],
        ),
        ([["start", "red"]], ["stop", "red"]),
        ([["start", "lan"]], ["stop", "lan"]),
    ],
)
def test_a_change_is_whole_or_refused(
    full: Daemon, before: Sequence[Sequence[str]], command: Sequence[str]
) -> None:
    """However little space there is; with more of it the same command works."""
    for words in before:
        full.cli(*words)
    refused(full, *command)


def test_an_apply_is_whole_or_refused(full: Daemon) -> None:
    """The same for a network that is changed while it runs."""
    full.cli("start", "red")
    refused(full, "apply", full.document(NAT.format(2)))
    assert "10.0.0.2" in full.host.run(["ip", "addr", "show", "dev", "red0"]).stdout


def test_a_disk_that_is_full_before_a_change_has_ended(host: Host) -> None:
    """What was begun has room for its end, whatever others write meanwhile."""
    host.file(DISK).mkdir()
    host.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", DISK])
    hook = host.file("/run/lab/hooks/network")
    hook.parent.mkdir()
    hook.write_text(
        f"#!/bin/sh\n[ $2 != started ] || dd if=/dev/zero of={FILL} bs=4k 2>/dev/null || true\n"
    )
    hook.chmod(0o755)
    with Daemon(host, state_dir=f"{DISK}/state", config='hooks_dir = "/run/lab/hooks"\n') as daemon:
        for number in range(3):
            document = NAT.format(1).replace(
                "<bridge", f"<description>{number}</description><bridge"
            )
            daemon.cli("define", daemon.document(document))
            daemon.cli("start", "red")
            host.file(FILL).unlink()
            if number < 2:
                daemon.cli("stop", "red")
        before = take_snapshot(host)
        daemon.kill9()
        daemon.start()
        assert before == take_snapshot(host)
        assert [True] == [network["active"] for network in daemon.cli("list", json=True)]


def test_what_serves_is_watched_after_a_refused_stop(full: Daemon) -> None:
    """A dnsmasq that dies then is started again, even while nothing can be recorded."""
    full.cli("start", "red")
    leave(full.host, 0)
    assert 7 == full.cli("stop", "red", check=False).returncode
    (former,) = full.host.processes("dnsmasq")
    full.host.run(["kill", "-9", str(former)])
    wait_for(
        lambda: any(pid != former for pid in full.host.processes("dnsmasq")), 10, "another dnsmasq"
    )
    full.host.file(FILL).unlink()
    full.restart()
    assert [] == full.cli("plan", "red", json=True)["steps"]


FILLED = {
    "no room": f"dd if=/dev/zero of={RUN_DIR}/fill-0 bs=1k 2>/dev/null",
    "no inodes": f"for i in $(seq 200); do : > {RUN_DIR}/fill-$i; done 2>/dev/null",
}


@pytest.mark.parametrize("what", FILLED)
def test_a_full_run_directory(host: Host, what: str) -> None:
    """What runs goes on; changes are refused and told why; with room all is as it should be."""
    host.file(RUN_DIR).mkdir()
    host.run(["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=80", "none", RUN_DIR])
    other = NAT.replace("red", "blue").replace("10.0.0", "10.0.1")
    reserved = NAT.format(1).replace(
        "</dhcp>", "<host mac='02:00:00:00:00:01' ip='10.0.0.5'/></dhcp>"
    )
    with Daemon(host) as daemon:
        daemon.cli("apply", daemon.document(NAT.format(1)))
        daemon.cli("define", daemon.document(other.format(1)))
        paths = [daemon.document(reserved)]
        before, served = take_snapshot(host), host.processes("dnsmasq")
        host.run(["sh", "-c", FILLED[what]], check=False)
        for command in (["start", "blue"], ["apply", *paths]):
            result = daemon.cli(*command, check=False)
            assert 7 == result.returncode, result
            assert "No space left on device" in result.stderr
            assert "df shows what is full" in result.stderr
        if what == "no room":
            # Without inodes there can be no sockets.
            daemon.restart()
        assert served == host.processes("dnsmasq")
        host.run(["sh", "-c", f"rm {RUN_DIR}/fill-*"])
        daemon.cli("apply", "red")
        assert before == take_snapshot(host)
        assert served == host.processes("dnsmasq")
        daemon.cli("apply", *paths)
        daemon.cli("start", "blue")
        daemon.restart()
        for name in ("red", "blue"):
            assert [] == daemon.cli("plan", name, json=True)["steps"]


def test_a_log_that_has_filled_the_run_directory(host: Host) -> None:
    """It is cut all the same, and its end is kept."""
    host.file(RUN_DIR).mkdir()
    host.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", RUN_DIR])
    log = host.file(RUN_DIR) / "log"
    host.run(["sh", "-c", f"yes no address available > {RUN_DIR}/log"], check=False)
    end = log.read_bytes()[-1 << 20 :]
    trim_log(log)
    assert 0 == log.stat().st_size
    assert end == log.with_name("log.old").read_bytes()


def test_a_run_directory_that_is_removed(host: Host, daemon: Daemon) -> None:
    """What serves is started anew when it dies, in a directory that is made for it."""
    daemon.cli("apply", daemon.document(NAT.format(1)))
    host.run(["mv", RUN_DIR, "/run/elsewhere"])
    (former,) = host.processes("dnsmasq")
    host.run(["kill", "-9", str(former)])
    wait_for(lambda: any(pid != former for pid in host.processes("dnsmasq")), 10, "another dnsmasq")
    host.run(["sh", "-ec", f"mv /run/elsewhere/*.sock {RUN_DIR}"])
    assert [] == daemon.cli("plan", "red", json=True)["steps"]


def test_a_state_directory_that_cannot_be_written(host: Host) -> None:
    """The daemon says so and which, in one line."""
    host.file(DISK).mkdir()
    with Daemon(host, state_dir=DISK) as daemon:
        daemon.terminate()
        host.run(["mount", "--bind", DISK, DISK])
        host.run(["mount", "-o", "remount,bind,ro", DISK])
        daemon.start(wait=False)
        assert 7 == daemon.process.wait(20)
        assert f"{DISK}/jackfield.db: Read-only file system" in daemon.log_text()
