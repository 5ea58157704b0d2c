"""Bridges that somebody renames in the very moment in which they are made, changed or removed.

What renames them is in the place of dnsmasq, which the daemon starts in the middle of a change.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.daemon import Daemon
from tests.lab.host import Host
from tests.lab.snapshot import take_snapshot
from tests.lab.test_lost_links import bridge_of, plug_both_in
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

PROGRAMS = "/run/lab/bin"
RENAME = "/run/lab/rename"
DNSMASQ = f"""#!/bin/sh
if [ -e {RENAME} ]; then
    # First of all: who starts it may end it at any moment, and is not to meet it again.
    bridge=$(cat {RENAME})
    rm {RENAME}
    until ip link set "$bridge" down name renamed0; do sleep 0.01; done
fi
exec {shutil.which("dnsmasq")} "$@"
"""
RED = """
<network>
  <name>red</name>
  <bridge name='{}' stp='off'/>
  <mtu size='{}'/>
  <ip address='10.0.0.1' prefix='24'><dhcp><range start='10.0.0.9' end='10.0.0.{}'/></dhcp></ip>
</network>
"""


@pytest.fixture
def daemon(host: Host) -> Iterator[Daemon]:
    """Give a daemon whose dnsmasq renames a bridge when it is told to."""
    program = host.file(f"{PROGRAMS}/dnsmasq")
    program.parent.mkdir(parents=True)
    program.write_text(DNSMASQ)
    program.chmod(0o755)
    with Daemon(host, env={"PATH": f"{PROGRAMS}:{os.environ['PATH']}"}) as jackfieldd:
        yield jackfieldd


def bridge_red(host: Host) -> dict[str, Any]:
    """Return what the host shows of the network's bridge."""
    link = host.link("red0")
    assert link is not None
    return link


def is_whole(host: Host, daemon: Daemon, bridge: str) -> bool:
    """Tell whether that is the only bridge, and the network as it should be."""
    bridges = {link["ifname"] for link in host.ip("link", "show", "type", "bridge")}
    plan = daemon.cli("plan", "red", json=True)
    (network,) = daemon.cli("list", json=True)
    return ({bridge}, {"steps": []}, None) == (bridges, plan, network["problem"])


def test_a_bridge_that_is_renamed_while_a_change_fails(host: Host, daemon: Daemon) -> None:
    """The change is refused; the bridge has its name back, and its guests have never left it."""
    daemon.cli("apply", daemon.document(RED.format("red0", 1500, 99)))
    device = plug_both_in(daemon, host)
    index = bridge_red(host)["ifindex"]
    host.file(RENAME).write_text("red0")
    changed = daemon.document(RED.format("red0", 1400, 199))
    assert 0 != daemon.cli("apply", changed, check=False).returncode
    wait_for(lambda: is_whole(host, daemon, "red0"), 10, "the network to be as before")
    assert {"red0"} == {bridge_of(host, link) for link in (device, "vnet0")}
    assert index == bridge_red(host)["ifindex"]
    daemon.cli("apply", changed)


def test_a_new_bridge_that_is_renamed_while_a_change_fails(host: Host, daemon: Daemon) -> None:
    """The change is refused, and nothing is left of what it had made."""
    daemon.cli("apply", daemon.document(RED.format("red0", 1500, 99)))
    host.file(RENAME).write_text("red1")
    changed = daemon.document(RED.format("red1", 1400, 199))
    assert 0 != daemon.cli("apply", changed, check=False).returncode
    wait_for(lambda: is_whole(host, daemon, "red0"), 10, "the network to be as before")
    daemon.cli("apply", changed)
    assert is_whole(host, daemon, "red1")


def test_a_bridge_that_is_renamed_while_a_start_fails(host: Host, daemon: Daemon) -> None:
    """The start is refused, and nothing is left of it."""
    daemon.cli("define", daemon.document(RED.format("red0", 1500, 99)))
    before = take_snapshot(host)
    host.file(RENAME).write_text("red0")
    assert 0 != daemon.cli("start", "red", check=False).returncode
    assert before == take_snapshot(host)
    daemon.cli("start", "red")
    assert is_whole(host, daemon, "red0")


@pytest.mark.parametrize("when", ["stopped", "started", "changed", "restarted", "defined"])
def test_a_bridge_that_was_left(host: Host, daemon: Daemon, when: str) -> None:
    """One that is marked as a network's besides its own goes as soon as somebody looks at that."""
    before = take_snapshot(host)
    daemon.cli("apply", daemon.document(RED.format("red0", 1500, 99)))
    mark = bridge_red(host)["ifalias"]
    if when in ("started", "defined"):
        daemon.cli("stop", "red")
    host.run(["ip", "link", "add", "left0", "type", "bridge"])
    host.run(["ip", "link", "set", "left0", "alias", mark, "up"])
    match when:
        case "stopped":
            daemon.cli("stop", "red")
        case "started":
            daemon.cli("start", "red")
            daemon.cli("apply", "red")
        case "changed":
            daemon.cli("apply", "red")
        case _:
            daemon.restart()
    assert host.link("left0") is None
    if when not in ("stopped", "defined"):
        assert is_whole(host, daemon, "red0")
        daemon.cli("stop", "red")
    assert before == take_snapshot(host)


def test_limits_of_a_port_that_nobody_knows(host: Host, daemon: Daemon) -> None:
    """They go at the next start, when the port's device is not there."""
    limits = "<bandwidth><outbound average='900'/></bandwidth>"
    slow = f"<portgroup name='slow'>{limits}</portgroup></network>"
    daemon.cli("apply", daemon.document(RED.format("red0", 1500, 99).replace("</network>", slow)))
    daemon.terminate()
    state, copy = host.file(daemon.state_dir), host.file("/run/lab/copy")
    shutil.copytree(state, copy)
    daemon.start()
    daemon.cli("attach", "red", "--tap", "t0", "--portgroup", "slow")
    daemon.kill9()
    shutil.rmtree(state)
    copy.rename(state)
    tables = ["nft", "list", "table", "netdev", "jackfield-police"]
    daemon.start()
    assert "t0" in host.run(tables).stdout
    host.run(["ip", "link", "del", "t0"])
    daemon.restart()
    assert 0 != host.run(tables, check=False).returncode


def test_limits_that_a_port_has_lost(host: Host, daemon: Daemon) -> None:
    """What was put back of a port's former settings goes at the next start."""
    daemon.cli("apply", daemon.document(RED.format("red0", 1500, 99)))
    daemon.cli("attach", "red", "--tap", "t0")
    before = take_snapshot(host)
    limits = "<bandwidth><outbound average='900'/></bandwidth>"
    slow = f"<portgroup name='slow'>{limits}</portgroup></network>"
    other = RED.format("blue0", 1500, 99).replace(">red<", ">blue<").replace("10.0.0", "10.0.1")
    daemon.cli("apply", daemon.document(other.replace("</network>", slow)))
    daemon.cli("attach", "blue", "--tap", "t1", "--portgroup", "slow")
    rules = host.run(["nft", "list", "table", "netdev", "jackfield-police"]).stdout
    daemon.cli("detach", "t1")
    daemon.cli("stop", "blue")
    daemon.cli("undefine", "blue")
    host.file("/run/lab/rules.nft").write_text(rules.replace("t1", "t0"))
    host.run(["nft", "-f", "/run/lab/rules.nft"])
    assert before != take_snapshot(host)
    daemon.restart()
    assert before == take_snapshot(host)
