"""Devices of ports that somebody deletes, alone or with the namespace that they lead to.

::

    a, b (namespaces) ── veth ─┐
    t0, t1 ─────────────────── red0                  host

    m0 (macvtap) ───────────── eth1 ── LAN
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import pytest

from tests.lab.daemon import Daemon
from tests.lab.host import Host, HostProcess
from tests.lab.packets import ping
from tests.lab.switch import Lan, add_address
from tests.lab.troubles import problem, problems, told
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

RED = """
<network>
  <name>red</name><bridge name='red0' stp='off'/><ip address='10.0.0.1' prefix='24'/>
</network>
"""
DIRECT = (
    "<network><name>red</name><forward mode='bridge'><interface dev='eth1'/></forward></network>"
)


def plug_in(daemon: Daemon, host: Host) -> str:
    """Plug in guest a and tap t0; return the guest's device on the host."""
    host.guest("a")
    port = daemon.cli("attach", "red", "--netns", "a", "--ifname", "eth0", json=True)
    daemon.cli("attach", "red", "--tap", "t0")
    return str(port["device"])


def test_deleted_devices_are_told_of_and_made_again(host: Host, daemon: Daemon) -> None:
    """Network and ports say what they lack and what to do, and have it again by that."""
    daemon.cli("apply", daemon.document(RED))
    device = plug_in(daemon, host)
    host.run(["ip", "link", "del", "t0"])
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    assert "gone: the devices of 1 port" in problem(daemon)
    assert problems(daemon)["a"] is None
    text = problems(daemon)["t0"] or ""
    assert "t0 was deleted" in text
    assert "jackfield apply red" in text
    assert "jackfield detach t0" in text
    assert "t0 was deleted" in daemon.cli("ports")
    # At the guest's end it is the same.
    host.run(["ip", "netns", "exec", "a", "ip", "link", "del", "eth0"])
    wait_for(lambda: "2 ports" in problem(daemon), 10, "the network to say so")
    assert f"jackfield detach {device}" in (problems(daemon)["a"] or "")
    planned = daemon.cli("plan", "red", json=True)
    assert {"tap", "veth"} <= {step["kind"] for step in planned["steps"]}
    assert ["network-problem"] * 2 == [event["type"] for event in told(daemon)]

    daemon.cli("apply", "red")
    assert "" == problem(daemon)
    assert {"red0"} == {(host.link(link) or {}).get("master") for link in (device, "t0")}
    assert problems(daemon)["a"] is None
    # Who had the tap open has a dead one.
    assert "open it again" in (problems(daemon)["t0"] or "")
    assert "network-repaired" == told(daemon)[-1]["type"]
    assert {"steps": []} == daemon.cli("plan", "red", json=True)


def test_a_deleted_namespace_takes_its_device_along(host: Host, daemon: Daemon) -> None:
    """The port says so, with and without a daemon that sees it happen, until it is detached."""
    daemon.cli("apply", daemon.document(RED))
    device = plug_in(daemon, host)
    # What it was mounted on is left.
    host.run(["umount", "/run/netns/a"])
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    for _ in range(2):
        text = problems(daemon)["a"] or ""
        assert "went with namespace /run/netns/a" in text
        assert f"jackfield detach {device}" in text
        assert problems(daemon)["t0"] is None
        daemon.restart()
    # An apply would make nothing of it.
    assert [] == daemon.cli("plan", "red", json=True)["steps"]
    assert "red: gone: the devices of 1 port" in daemon.cli("doctor", "red", check=False).stdout
    refused = daemon.cli("attach", "red", "--netns", "a", "--ifname", "eth1", check=False)
    assert "there is no network namespace /run/netns/a" in refused.stderr
    # There is one again: applying is enough.
    host.run(["rm", "/run/netns/a"])
    guest = host.guest("a")
    daemon.cli("apply", "red")
    assert {"a": None, "t0": None} == problems(daemon)
    add_address(guest, "eth0", "10.0.0.2/24")
    assert ping(guest, "10.0.0.1", tries=5) is not None
    host.run(["ip", "netns", "del", "a"])
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    daemon.cli("detach", device)
    assert "" == problem(daemon)
    assert {"t0": None} == problems(daemon)


def test_what_is_no_loss(host: Host, daemon: Daemon) -> None:
    """Detached, of a stopped network, renamed, or gone and back: a device is not missing."""
    daemon.cli("apply", daemon.document(RED))
    device = plug_in(daemon, host)
    daemon.cli("stop", "red")
    daemon.cli("start", "red")
    daemon.cli("detach", device)
    daemon.cli("attach", "red", "--tap", "t1")
    host.run(["ip", "link", "set", "t0", "name", "other"])
    wait_for(lambda: "t0" in host.links(), 10, "its name to be back")
    # What comes after them is told: they have been looked at.
    host.run(["ip", "link", "del", "t1"])
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    assert "1 port" in problem(daemon)
    assert problems(daemon)["t0"] is None
    assert ["network-repaired", "network-problem"] == [one["type"] for one in told(daemon)]
    host.run(["ip", "link", "del", "t0"])
    wait_for(lambda: "2 ports" in problem(daemon), 10, "the network to say so")
    daemon.cli("detach", "t0")
    daemon.cli("detach", "t1")
    assert "" == problem(daemon)
    # Taken to another namespace, and brought back.
    host.guest("b")
    daemon.cli("attach", "red", "--tap", "t0")
    host.run(["ip", "link", "set", "t0", "netns", "b"])
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    host.run(["ip", "netns", "exec", "b", "ip", "link", "set", "t0", "netns", "1"])
    wait_for(lambda: not problem(daemon), 10, "the network to be well again")
    assert {"t0": None} == problems(daemon)


def test_a_device_of_a_stopped_network(host: Host, daemon: Daemon) -> None:
    """The port says so; the network has it made again when it starts."""
    daemon.cli("apply", daemon.document(RED))
    daemon.cli("attach", "red", "--tap", "t0")
    daemon.cli("stop", "red")
    host.run(["ip", "link", "del", "t0"])
    wait_for(lambda: problems(daemon)["t0"], 10, "the port to say so")
    daemon.restart()
    assert "t0 was deleted" in (problems(daemon)["t0"] or "")
    daemon.cli("start", "red")
    assert "red0" == (host.link("t0") or {}).get("master")
    assert "" == problem(daemon)


def test_a_deleted_macvtap(host: Host, lan: Lan, daemon: Daemon) -> None:
    """It is told of alone, and not as lost with a NIC that is there."""
    lan.plug(host, "eth1")
    daemon.cli("apply", daemon.document(DIRECT))
    daemon.cli("attach", "red", "--tap", "m0")
    host.run(["ip", "link", "del", "m0"])
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    assert "NIC" not in problem(daemon)
    assert "m0 was deleted" in (problems(daemon)["m0"] or "")
    daemon.cli("apply", "red")
    assert "" == problem(daemon)
    assert "m0" in host.links()


def test_a_device_that_somebody_takes_off_its_bridge(host: Host, daemon: Daemon) -> None:
    """Its network says so, and whose guest is cut off, until it is put back or applied."""
    daemon.cli("apply", daemon.document(RED))
    device = plug_in(daemon, host)
    host.run(["ip", "link", "set", device, "nomaster"])
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    said = f"cut off: {device} of a is not on bridge red0 any more; "
    assert f"{said}put right by: jackfield apply red" == problem(daemon)
    host.run(["ip", "link", "set", device, "master", "red0"])
    wait_for(lambda: not problem(daemon), 10, "the network to be well again")
    host.run(["ip", "link", "set", device, "down"])
    wait_for(lambda: f"cut off: {device} of a is not up" in problem(daemon), 10, "it to say so")
    host.run(["ip", "link", "set", "t0", "nomaster"])
    wait_for(lambda: ", and 1 more" in problem(daemon), 10, "it to say of both")
    daemon.cli("apply", "red")
    assert "" == problem(daemon)
    host.run(["ip", "link", "add", "other", "type", "bridge"])
    host.run(["ip", "link", "set", device, "master", "other"])
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    command = f"ip link set {device} nomaster"
    assert f"{device} of a is on bridge other, not on red0: {command}" in problem(daemon)
    assert f"not ours: bridge other ({device} is on it)" in daemon.cli("apply", "red")
    host.run(command.split())
    assert f"+ {device} on bridge red0" in daemon.cli("apply", "red")
    assert "" == problem(daemon)
    # Frames that are longer than its MTU are dropped without a word.
    host.run(["ip", "link", "set", device, "mtu", "1400"])
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    assert (
        f"changed by somebody else: the MTU of {device} of a is 1400, not 1500; "
        "put right by: jackfield apply red"
    ) == problem(daemon)
    host.run(["ip", "link", "set", "t0", "down"])
    wait_for(lambda: "cut off: t0 is not up, and 1 more" in problem(daemon), 10, "it to say both")
    host.run(["ip", "link", "set", "t0", "up"])
    wait_for(lambda: "1400, not 1500; put" in problem(daemon), 10, "it to say of one")
    (step,) = daemon.cli("plan", "red", json=True)["steps"]
    assert ("change", f"link:{device}") == (step["action"], step["key"])
    assert f"~ veth {device}" in daemon.cli("apply", "red")
    assert 1500 == host.ip("link", "show", "dev", device)[0]["mtu"]
    assert ("", []) == (problem(daemon), daemon.cli("plan", "red", json=True)["steps"])
    # Neither a new port nor a change gives the others what the bridge has by it.
    host.run(["ip", "link", "set", device, "mtu", "1400"])
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    daemon.cli("attach", "red", "--tap", "t1")
    daemon.cli("apply", daemon.document(RED.replace("'off'", "'off' delay='1'")))
    links = ("red0", device, "t0", "t1")
    assert [1500] * 4 == [host.ip("link", "show", "dev", name)[0]["mtu"] for name in links]
    daemon.cli("detach", "t1")
    wait_for(lambda: not problem(daemon), 10, "the network to be well again")
    # What goes with its port, or loses its bridge with its network, is nobody's mistake.
    before = len(told(daemon))
    daemon.cli("stop", "red")
    daemon.cli("start", "red")
    daemon.cli("detach", "a")
    host.run(["ip", "link", "set", "t0", "down"])
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    assert before + 1 == len(told(daemon))


def test_what_a_daemon_that_starts_mends(host: Host, daemon: Daemon) -> None:
    """What somebody else has changed and a restart puts right is an event, and told once."""
    daemon.cli("apply", daemon.document(RED))
    daemon.cli("attach", "red", "--tap", "t0")
    host.run(["ip", "link", "set", "t0", "mtu", "1400"])
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    before = told(daemon)
    daemon.restart()
    link = host.link("t0")
    assert link is not None
    assert 1500 == link["mtu"]
    (repaired,) = told(daemon)[len(before) :]
    assert "network-repaired" == repaired["type"]
    assert "red" == repaired["network"]
    assert repaired["detail"]["reason"].startswith("mended when the daemon started: ")
    assert "t0" in repaired["detail"]["reason"]
    host.run(["ip", "link", "set", "t0", "down"])
    daemon.kill9()
    host.run(["ip", "route", "del", "10.0.0.0/24"])
    daemon.start()
    reason = told(daemon)[-1]["detail"]["reason"]
    assert "10.0.0.1/24" in reason
    assert "t0" in reason
    count = len(told(daemon))
    daemon.restart()
    assert count == len(told(daemon))


def test_a_macvlan_that_its_guest_deletes(host: Host, lan: Lan, daemon: Daemon) -> None:
    """Only the guest's namespace shows it; the port says so, and has it again by an apply."""
    lan.plug(host, "eth1")
    daemon.cli("apply", daemon.document(DIRECT))
    guest, other = host.guest("a"), host.guest("b")
    for name in ("a", "b"):
        daemon.cli("attach", "red", "--netns", name, "--ifname", "eth0")
    # Another name in there is its guest's business.
    other.run(["ip", "link", "set", "eth0", "name", "wan0"])
    guest.run(["ip", "link", "del", "eth0"])
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    assert "gone: the devices of 1 port" in problem(daemon)
    text = problems(daemon)["a"] or ""
    assert "was deleted or taken away" in text
    assert "jackfield apply red" in text
    assert problems(daemon)["b"] is None
    daemon.cli("apply", "red")
    assert {"a": None, "b": None} == problems(daemon)
    assert "" == problem(daemon)
    assert guest.link("eth0") is not None
    assert other.link("wan0") is not None


def test_a_deleted_namespace_takes_its_macvlan_along(host: Host, lan: Lan, daemon: Daemon) -> None:
    """Nothing here shows it; the port says so all the same, until there is a namespace again."""
    lan.plug(host, "eth1")
    daemon.cli("apply", daemon.document(DIRECT))
    host.guest("b")
    device = plug_in(daemon, host)
    daemon.cli("attach", "red", "--netns", "b", "--ifname", "eth0")
    # What it was mounted on is left.
    host.run(["umount", "/run/netns/a"])
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    for _ in range(2):
        text = problems(daemon)["a"] or ""
        assert "went with namespace /run/netns/a" in text
        assert f"jackfield detach {device}" in text
        assert {"b": None, "t0": None} == {
            name: text for name, text in problems(daemon).items() if name != "a"
        }
        daemon.restart()
    host.run(["rm", "/run/netns/a"])
    guest = host.guest("a")
    daemon.cli("apply", "red")
    assert {"a": None, "b": None, "t0": None} == problems(daemon)
    assert guest.link("eth0") is not None
    # Another one of its name, and at once, is another one.
    host.run(["ip", "netns", "del", "a"])
    guest = host.guest("a")
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    assert guest.link("eth0") is None
    daemon.cli("apply", "red")
    assert guest.link("eth0") is not None
    host.run(["umount", "/run/netns/a"])
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    daemon.cli("detach", device)
    assert "" == problem(daemon)


class DeafDaemon(Daemon):
    """A daemon that misses what happens while it does not look."""

    def _process(self, arguments: Sequence[str], log: IO[str]) -> HostProcess:
        program = Path(__file__).with_name("deaf_daemon.py")
        return self.host.start([sys.executable, str(program), *arguments], stdout=log, stderr=log)

    def _check_loop(self) -> None:
        pass


def test_changes_that_were_missed(host: Host, lan: Lan) -> None:
    """What went while more happened than the daemon could be told of is told of afterwards."""
    lan.plug(host, "eth1")
    guest = host.guest("a")
    blue = RED.replace("red", "blue").replace("10.0.0", "10.0.1")
    with DeafDaemon(host) as daemon:
        for text in (RED, blue, DIRECT.replace("red", "green")):
            daemon.cli("apply", daemon.document(text))
        daemon.cli("attach", "green", "--netns", "a", "--ifname", "eth0")
        # It may not have seen this one at all.
        daemon.cli("attach", "blue", "--tap", "t0")
        with daemon.paused():
            guest.run(["ip", "link", "del", "eth0"])
            host.run(["ip", "link", "del", "t0"])
            host.run(["ip", "route", "del", "10.0.0.0/24", "dev", "red0"])
            for number in range(30):
                host.run(["ip", "link", "set", "lo", "alias", f"much happens {number}"])

        def said() -> dict[str, str]:
            networks = daemon.ask("/v1/networks")
            return {one["name"]: one["problem"] for one in networks if one["problem"]}

        wait_for(lambda: len(said()) == 3, 10, "all networks to say so")
        assert "changes of the host's network were missed" in daemon.log_text()
        assert "lacks the route to 10.0.0.0/24" in said()["red"]
        assert {"a", "t0"} == {name for name, text in problems(daemon).items() if text}
        for name in ("red", "blue", "green"):
            daemon.cli("apply", name)
        assert {} == said()
        assert guest.link("eth0") is not None
        assert host.link("t0") is not None
