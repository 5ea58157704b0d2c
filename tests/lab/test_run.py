"""``jackfield run``: a program gets its NICs as open descriptors, and its end frees them.

::

    monitor ── tap ── virbr-red 10.0.0.1 (NAT)
            └─ macvtap ── eth1 of the host ── LAN ── outside 192.0.2.1
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.host import Host, HostProcess
from tests.lab.switch import Lan
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

RED = """\
<network>
  <name>red</name>
  <forward mode='nat'/>
  <bridge name='virbr-red' stp='off' delay='0'/>
  <ip address='10.0.0.1' netmask='255.255.255.0'/>
</network>
"""
LAN = """\
<network>
  <name>lan</name>
  <forward mode='bridge'><interface dev='eth1'/></forward>
</network>
"""

# A monitor with a NIC: asks through it by ARP (RFC 826) who has an address, prints the hardware
# address in the answer, and goes on until its input ends.  Frames have a virtio-net header of ten
# bytes in front (IFF_VNET_HDR).
MONITOR = """
import os, select, struct, sys
for fds, mac, source, target in zip(*[iter(sys.argv[1:])] * 4):
    files = [int(word) for word in fds.split(":")]
    mac = bytes.fromhex(mac.replace(":", ""))
    source, target = (bytes(map(int, text.split("."))) for text in (source, target))
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + source + bytes(6) + target
    answer = None
    while answer is None:
        frame = b"\\xff" * 6 + mac + b"\\x08\\x06" + body.ljust(46, b"\\0")
        os.write(files[0], bytes(10) + frame)
        ready, _, _ = select.select(files, [], [], 1)
        for file in ready:
            frame = os.read(file, 2000)[10:]
            if frame[12:14] == b"\\x08\\x06" and frame[20:22] == b"\\0\\x02":
                answer = frame[22:28].hex(":")
    print(len(files), answer, flush=True)
sys.stdin.read()
sys.exit(7)
"""


def begin(host: Host, *arguments: str) -> HostProcess:
    """Start ``jackfield run ARGUMENTS``; its input and output are pipes."""
    return host.start(
        [sys.executable, "-m", "jackfield.cli.main", "run", *arguments],
        env={"JACKFIELD_RUN_DIR": RUN_DIR},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def line(process: HostProcess) -> str:
    """Return the next line that a process prints."""
    assert process.popen.stdout is not None
    return str(process.popen.stdout.readline()).strip()


def ports(daemon: Daemon) -> list[dict[str, Any]]:
    """Return the ports."""
    found: list[dict[str, Any]] = daemon.cli("ports", json=True)
    return found


@pytest.fixture
def networks(host: Host, lan: Lan, outside: Host, daemon: Daemon) -> Host:
    """Start a NAT network and one over eth1; return the machine outside."""
    lan.plug(host, "eth1")
    for text in (RED, LAN):
        daemon.cli("apply", daemon.document(text))
    return outside


MONITOR_OF_BOTH = (
    *("--nic", "network=red,mac=52:54:00:00:00:0a,queues=2"),
    *("--nic", "network=lan", "--name", "anna", "--"),
    *(sys.executable, "-c", MONITOR),
    *("{nic0.fds}", "{nic0.mac}", "10.0.0.2", "10.0.0.1"),
    *("{nic1.fd}", "{nic1.mac}", "192.0.2.7", "192.0.2.1"),
)


def test_a_monitor_talks_through_its_nics_and_leaves_nothing(
    host: Host, networks: Host, daemon: Daemon
) -> None:
    """Frames go both ways; the exit status is the monitor's; then the ports are gone."""
    process = begin(host, *MONITOR_OF_BOTH)
    assert f"2 {host.mac('virbr-red')}" == line(process)
    assert f"1 {networks.mac('eth0')}" == line(process)
    found = {port["network"]: port for port in ports(daemon)}
    assert {"red", "lan"} == found.keys()
    assert "52:54:00:00:00:0a" == found["red"]["mac"]
    assert {"anna"} == {port["owner"]["name"] for port in found.values()}
    (monitor,) = {port["holder"] for port in found.values()}
    assert "MAC" in host.file(f"/proc/{monitor}/cmdline").read_text().upper()

    assert process.popen.stdin is not None
    process.popen.stdin.close()
    assert 7 == process.wait()
    wait_for(lambda: not ports(daemon), 5, "the ports to be freed")
    assert {"lo", "eth1", "virbr-red"} == host.links()


def test_a_killed_monitor_leaves_nothing(host: Host, networks: Host, daemon: Daemon) -> None:
    """SIGKILL frees the ports as well; also while the daemon is away."""
    for daemon_is_away in (False, True):
        process = begin(host, *MONITOR_OF_BOTH)
        line(process)
        line(process)
        (monitor,) = {port["holder"] for port in ports(daemon)}
        if daemon_is_away:
            daemon.kill9()
        host.run(["kill", "-9", str(monitor)])
        process.wait()
        if daemon_is_away:
            daemon.start()
        wait_for(lambda: not ports(daemon), 5, "the ports to be freed")
        assert {"lo", "eth1", "virbr-red"} == host.links()


def test_a_restart_of_daemon_and_network_keeps_the_nics(
    host: Host, networks: Host, daemon: Daemon
) -> None:
    """A monitor that runs goes on, and is still waited for."""
    process = begin(host, *MONITOR_OF_BOTH)
    line(process)
    line(process)
    before = {port["uuid"]: port["device"] for port in ports(daemon)}
    daemon.kill9()
    daemon.start()
    daemon.cli("stop", "red")
    daemon.cli("start", "red")
    assert before == {port["uuid"]: port["device"] for port in ports(daemon)}
    assert process.popen.stdin is not None
    process.popen.stdin.close()
    assert 7 == process.wait()
    wait_for(lambda: not ports(daemon), 5, "the ports to be freed")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--nic", "network=red", "--", "monitor"), "do not say where its NICs go"),
        (("--nic", "network=red", "--", "monitor", "{nic1.fd}"), "no --nic with number 1"),
        (("--nic", "network=red", "--", "monitor", "{nic0.ip}"), "there is no 'ip'"),
        (("--nic", "net=red", "--", "monitor", "{nic0.fd}"), "'net=red'"),
        (("--nic", "mac=52:54:00:00:00:01", "--", "monitor", "{nic0.fd}"), "names no network"),
        (("--nic", "network=red,queues=some", "--", "monitor"), "is not a number"),
        (("--nic", "network=red,type=tap", "--", "monitor"), "type=tap"),
        (("--nic", "network=red,type=vde", "--", "monitor", "{nic0.fd}"), "there is no 'fd'"),
        (("--nic", "network=red,type=vde", "--", "monitor", "{nic0.socket}"), "no VDE switch"),
        (("--", "monitor"), "say which network"),
        (("--nic", "network=red"), "COMMAND is missing"),
        (("--nic", "network=blue", "--", "monitor", "{nic0.fd}"), "'blue'"),
        (("--nic", "network=red", "--", "/no/such", "{nic0.fd}"), "cannot run /no/such"),
        (
            ("--nic", "network=red", "--nic", "network=blue", "--", "true", "{nic0.fd}"),
            "'blue'",
        ),
    ],
)
def test_what_cannot_be_run_plugs_nothing_in(
    host: Host, networks: Host, daemon: Daemon, arguments: tuple[str, ...], said: str
) -> None:
    """The error says what is wrong; no port and no device is left."""
    result = daemon.cli("run", *arguments, check=False)
    assert result.returncode != 0
    assert said in result.stderr
    wait_for(lambda: not ports(daemon), 5, "the ports to be freed")
    assert {"lo", "eth1", "virbr-red"} == host.links()


@pytest.mark.usefixtures("networks")
def test_a_wrong_command_line_is_told_before_anything(daemon: Daemon) -> None:
    """Who runs what is no QEMU, and does not say where its NICs go, has plugged nothing in."""
    before = daemon.cli("events", "--no-follow")
    refused = daemon.cli("run", "--nic", "network=red", "--", "sleep", "1000", check=False)
    assert 2 == refused.returncode
    assert "sleep is not QEMU" in refused.stderr
    assert before == daemon.cli("events", "--no-follow")


def test_descriptors_are_for_those_who_may_change_things(
    host: Host, networks: Host, daemon: Daemon
) -> None:
    """Another user gets the error of every door; malformed requests get one, too."""
    daemon.cli("attach", "red", "--tap", "tap0")
    ask = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET);"
        f"s.connect('{RUN_DIR}/fd.sock'); s.send(sys.argv[1].encode());"
        "print(s.recv(9000).decode())"
    )

    def answer(text: str, *prefix: str) -> Any:
        return json.loads(host.run([*prefix, sys.executable, "-c", ask, text]).stdout)

    as_nobody = ("setpriv", "--reuid", "65534", "--clear-groups")
    assert "access-denied" == answer('{"port": "tap0"}', *as_nobody)["error"]["name"]
    assert {"descriptors": 1} == answer('{"port": "tap0"}')
    assert "port-not-found" == answer('{"port": "tap1"}')["error"]["name"]
    for wrong in ("[]", '{"port": 1}', '{"port": "tap0", "more": 1}', "{" * 4000):
        assert "invalid-request" == answer(wrong)["error"]["name"]
    host.guest("a")
    daemon.cli("attach", "red", "--netns", "a", "--ifname", "eth0")
    assert "wrong-state" == answer('{"port": "a"}')["error"]["name"]
