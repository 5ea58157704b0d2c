"""The lab itself: hosts are apart, leave nothing, and the helpers tell the truth.

outside ──┐
host ─────┴── lan          guests a and b hang on a bridge of the host, with a plain dnsmasq
"""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Uplink
from tests.lab import leaks
from tests.lab.daemon import Daemon
from tests.lab.dns import resolve
from tests.lab.flow import EchoServer, TcpFlow
from tests.lab.guest import Guest
from tests.lab.host import Host
from tests.lab.nameserver import NameServer
from tests.lab.namespace import CommandFailed, NetworkNamespace
from tests.lab.packets import ask_udp, can_connect, ping, send_forged_udp
from tests.lab.switch import Lan, add_address
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab


def test_a_host_sees_only_its_own(host: Host) -> None:
    """Links, processes, /run and resolv.conf of the machine are not to be seen on a host."""
    assert {"lo"} == host.links()
    assert "lo\n" == host.run(["ls", "/sys/class/net"]).stdout
    assert "netns\n" == host.run(["ls", "--ignore=lab", "/run"]).stdout
    assert "" == host.run(["cat", "/etc/resolv.conf"]).stdout
    assert "host\n" == host.run(["hostname"]).stdout
    assert host.processes(Path(sys.executable).name) == [1]
    assert "0" == host.sysctl("net/ipv4/ip_forward")


def test_a_host_does_not_change_the_machine(host: Host) -> None:
    """Mounts, names and files made on a host stay there."""
    before = leaks.Machine.observe()
    host.guest("visible")
    host.run(["mount", "-t", "tmpfs", "none", "/mnt"])
    host.run(["mknod", "/dev/jackfield/visible", "c", "1", "3"])
    assert [] == leaks.Machine.observe().added_since(before)


def test_a_host_ends_with_the_test_process() -> None:
    """Killing the process that made a host ends everything on that host."""
    code = (
        "from tests.lab.host import Host; import time; h = Host();"
        "h.start(['sleep', '1000']); print(h.pid, flush=True); time.sleep(1000)"
    )
    maker = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert maker.stdout is not None
    with maker.stdout:
        pid = int(maker.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        maker.send_signal(signal.SIGKILL)
        maker.wait()
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), 5, "the host to end")


def test_orphans_are_reaped(host: Host) -> None:
    """A process whose parent ended is collected by process 1 of the host."""
    pid = host.run(["sh", "-c", "(sleep 0.1 >/dev/null 2>&1 & echo $!)"]).stdout.strip()
    wait_for(lambda: not host.file(f"/proc/{pid}").exists(), 5, "the orphan to be collected")


def test_a_failing_command_shows_what_it_said(host: Host) -> None:
    """The error of a failed command holds its output; without check there is no error."""
    with pytest.raises(CommandFailed, match="nope"):
        host.run(["ip", "link", "show", "nope"])
    assert host.run(["ip", "link", "show", "nope"], check=False).returncode != 0
    assert host.link("nope") is None


def test_a_started_program_is_signalled_itself(host: Host) -> None:
    """The process id is the program's, and its end is told as it was."""
    sleeper = host.start(["sleep", "1000"])
    program = Path(f"/proc/{sleeper.pid}/cmdline")
    # What enters the host becomes it.
    wait_for(lambda: program.read_bytes() == b"sleep\x001000\x00", 5, "the program")
    sleeper.kill9()
    assert sleeper.poll() == -signal.SIGKILL


def test_plain_namespace(netns: NetworkNamespace) -> None:
    """A thread that has entered sees the namespace, and afterwards its own again."""
    home = Path("/proc/thread-self/ns/net").readlink()
    netns.run(["ip", "link", "add", "br0", "type", "bridge"])
    with netns.entered():
        assert {"lo", "br0"} == {name for _, name in socket.if_nameindex()}
    assert home == Path("/proc/thread-self/ns/net").readlink()
    assert {"lo", "br0"} == netns.links()
    netns.set_sysctl("net/ipv4/conf/br0/forwarding", "1")
    assert "1" == netns.run(["cat", "/proc/sys/net/ipv4/conf/br0/forwarding"]).stdout.strip()


def test_the_lan_carries_both_families(host: Host, outside: Host, uplink: Uplink) -> None:
    """A host reaches the machine outside and what lies behind it, until it is unplugged."""
    for address in ("192.0.2.1", "203.0.113.1", "2001:db8:1::1", "2001:db8:ffff::1"):
        assert ping(host, address, tries=3) is not None, address
    assert ping(host, "192.0.2.77", timeout=0.2) is None
    assert ping(outside, uplink.address4) is not None


def test_unplugging(lan: Lan, host: Host, uplink: Uplink) -> None:
    """With the cable the host's link goes."""
    lan.unplug(uplink.switch_port)
    wait_for(lambda: {"lo"} == host.links(), 5, "the link to go")


@pytest.mark.usefixtures("uplink")
def test_the_echo_server_tells_who_asked(host: Host, outside: Host) -> None:
    """Sources are seen as they arrive, and answers come from the address that was asked."""
    with EchoServer(outside) as server:
        assert b"x" == ask_udp(host, "203.0.113.1", 7, b"x")
        assert b"y" == ask_udp(host, "2001:db8:ffff::1", 7, b"y")
        assert can_connect(host, "192.0.2.1", 7)
        assert not can_connect(host, "192.0.2.1", 8)
        # The kernel accepts a connection before the server sees it.
        wait_for(lambda: server.seen("tcp"), 5, "the connection to be seen")
        assert {"192.0.2.10", "2001:db8:1::10"} == server.sources()
        server.forget()
        send_forged_udp(host, "198.51.100.9", "192.0.2.1", 7, b"forged")
        send_forged_udp(host, "2001:db8:bad::9", "2001:db8:1::1", 7, b"forged")
        wait_for(
            lambda: {"198.51.100.9", "2001:db8:bad::9"} == server.sources(), 5, "forged packets"
        )
        assert {b"forged"} == {one.payload for one in server.seen("udp")}


@pytest.mark.usefixtures("uplink")
def test_the_name_server_outside(host: Host, outside: Host) -> None:
    """Records are answered and questions noted with who asked."""
    with NameServer(outside, {"upstream.example": "203.0.113.9"}) as server:
        answer = resolve(host, "upstream.example", "192.0.2.1")
        assert answer is not None
        assert ("203.0.113.9",) == answer.records
        missing = resolve(host, "nothing.example", "192.0.2.1")
        assert missing is not None
        assert () == missing.records
        assert ("upstream.example", "192.0.2.10") in server.asked()


def test_a_flow_notices_interruptions(lan: Lan, host: Host, outside: Host, uplink: Uplink) -> None:
    """A flow that is held shows its gap; one that is refused shows its error."""
    with EchoServer(outside), TcpFlow(host, "192.0.2.1", interval=0.005) as flow:
        wait_for(lambda: flow.received > 20, 5, "the flow to run")
        lan.namespace.run(["ip", "link", "set", uplink.switch_port, "down"])
        time.sleep(0.6)
        lan.namespace.run(["ip", "link", "set", uplink.switch_port, "up"])
        held = flow.received
        wait_for(lambda: flow.received > held + 20, 10, "the flow to go on")
    assert flow.error is None
    assert flow.sent == flow.received
    assert flow.longest_gap > 0.5
    with EchoServer(outside) as server:
        broken = TcpFlow(host, "192.0.2.1")
        wait_for(lambda: broken.received, 5, "the flow to run")
        server.close()
        wait_for(lambda: broken.error, 5, "the flow to break")
        broken.close()


@pytest.fixture
def guests(host: Host) -> Iterator[tuple[Guest, Guest]]:
    """Give two guests on a bridge of the host that a plain dnsmasq serves."""
    host.run(
        [
            *("ip", "link", "add", "br0", "up", "type", "bridge"),
            *("stp_state", "0", "mcast_snooping", "0"),
        ]
    )
    add_address(host, "br0", "10.0.0.1/24")
    add_address(host, "br0", "fd00:5::1/64")
    a, b = host.guest("a"), host.guest("b")
    for guest in (a, b):
        host.run(
            [
                *("ip", "link", "add", f"v{guest.name}", "up", "master", "br0", "type", "veth"),
                *("peer", "name", "eth0", "netns", guest.name),
            ]
        )
    server = host.start(
        [
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-"),
            *("--no-resolv", "--no-hosts", "--no-ping", "--bind-interfaces", "--interface=br0"),
            *("--except-interface=lo", "--user=", "--pid-file=", "--domain=lab", "--enable-ra"),
            *("--dhcp-range=10.0.0.100,10.0.0.200,1h", "--dhcp-leasefile=/run/lab/leases"),
            *("--dhcp-range=fd00:5::100,fd00:5::200,64,1h", "--dhcp-fqdn"),
            *("--dhcp-option=option:ntp-server,10.0.0.9", "--address=/fixed.lab/10.0.0.33"),
            *("--txt-record=note.lab,hello", "--srv-host=_ldap._tcp.lab,fixed.lab,389,1,2"),
        ],
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: can_connect(host, "10.0.0.1", 53), 5, "dnsmasq")
    yield a, b
    server.stop()


def test_guests_lease_and_talk(guests: tuple[Guest, Guest]) -> None:
    """The real clients get addresses of both families, and the guests reach each other."""
    a, b = guests
    lease_a = a.dhcp4(hostname="alpha", options=["ntpsrv"])
    lease_b = b.dhcp4()
    assert lease_a is not None
    assert lease_b is not None
    assert 24 == lease_a.prefix
    assert "10.0.0.1" == lease_a.router
    assert ("10.0.0.1",) == lease_a.dns
    assert "lab" == lease_a.domain
    assert 3600 == lease_a.lease
    assert "10.0.0.9" == lease_a.options["ntpsrv"]
    assert f"{lease_a.address}/24" in a.addresses()
    assert ping(a, lease_b.address, tries=3) is not None
    lease6 = a.dhcp6()
    assert lease6 is not None
    first, last = map(ipaddress.IPv6Address, ("fd00:5::100", "fd00:5::200"))
    assert first <= ipaddress.IPv6Address(lease6.address) <= last
    assert ("fd00:5::1",) == lease6.dns
    assert f"{lease6.address}/128" in [
        address.partition("/")[0] + "/128" for address in a.addresses()
    ]
    assert ping(a, "fd00:5::1", tries=5) is not None

    answer = resolve(a, "alpha.lab", "10.0.0.1")
    assert answer is not None
    assert (lease_a.address,) == answer.records
    reverse = resolve(a, lease_a.address, "10.0.0.1", "PTR")
    assert reverse is not None
    assert ("alpha.lab",) == reverse.records
    text = resolve(a, "note.lab", "10.0.0.1", "TXT")
    assert text is not None
    assert ("hello",) == text.records
    service = resolve(a, "_ldap._tcp.lab", "10.0.0.1", "SRV")
    assert service is not None
    assert ("1 2 389 fixed.lab",) == service.records


def test_no_server_no_lease(host: Host) -> None:
    """Without a server the clients give up in the time they were given."""
    guest = host.guest("lonely")
    guest.run(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "end"])
    guest.run(["ip", "link", "set", "end", "up"])
    assert guest.dhcp4(seconds=1) is None


def test_a_daemon_is_started_killed_and_ended(daemon: Daemon) -> None:
    """The command line reaches the daemon after a crash and after an orderly restart too."""
    assert [] == daemon.cli("list", json=True)
    first = daemon.pid
    daemon.kill9()
    assert -signal.SIGKILL == daemon.process.poll()
    assert 0 != daemon.cli("list", check=False).returncode
    daemon.start()
    assert first != daemon.pid
    daemon.restart()
    with pytest.raises(CommandFailed, match="nowhere"):
        daemon.cli("start", "nowhere")
    assert {"serving"} <= {entry["message"] for entry in daemon.log()}
    assert [] == daemon.blocked()


def test_a_daemon_whose_sockets_are_removed(daemon: Daemon) -> None:
    """Who finds no socket is told whether a daemon runs, which `start` would not help."""
    daemon.api_socket.unlink()
    refused = daemon.cli("list", check=False)
    assert 8 == refused.returncode
    assert "one runs on this host" in refused.stderr
    assert "systemctl restart jackfieldd" in refused.stderr
    daemon.restart()
    assert [] == daemon.cli("list", json=True)
    daemon.terminate()
    refused = daemon.cli("list", check=False)
    assert 8 == refused.returncode
    assert "systemctl start jackfieldd" in refused.stderr
    daemon.start()


def test_leaks_are_found() -> None:
    """Links, unclosed namespaces and processes of the run are told."""
    before = leaks.Machine(links=frozenset(), namespaces=frozenset(), mounts=frozenset())
    assert "link lo" in leaks.Machine.observe().added_since(before)
    mark = os.environ[leaks.VARIABLE]
    with NetworkNamespace("forgotten") as namespace:
        assert leaks.unclosed() == ["unclosed NetworkNamespace forgotten"]
        sleeper = namespace.popen(["sleep", "1000"])
        try:
            wait_for(
                lambda: any("sleep 1000" in told for told in leaks.processes_of_run(mark)),
                5,
                "the process to be told",
            )
        finally:
            sleeper.kill()
            sleeper.wait()
    assert [] == leaks.unclosed()
