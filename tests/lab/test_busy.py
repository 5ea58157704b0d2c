"""What somebody does to a network that is just being changed, and what is asked of it meanwhile.

A hook holds the network until the test lets it go; what was asked for first is done first then,
and what the daemon does by itself about what it saw comes after it.

::

    a (namespace) ── veth ─┐
    t0 ─────────────────── red0          host
"""

from __future__ import annotations

import contextlib
import functools
import json
import socket
from collections.abc import Callable, Iterator
from subprocess import DEVNULL

import pytest

from jackfield.client import Client
from tests.lab.daemon import Daemon
from tests.lab.host import Host
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

HOLD = """#!/bin/sh
[ $2 = updated ] && [ -e /run/lab/hold ] || exit 0
touch /run/lab/held
while [ -e /run/lab/hold ]; do sleep 0.02; done
"""
RED = """
<network>
  <name>red</name><bridge name='{}'/><mtu size='{}'/><ip address='10.0.0.1' prefix='24'/>
</network>
"""

Ask = Callable[..., None]


@pytest.fixture
def daemon(host: Host) -> Iterator[Daemon]:
    """Give a daemon whose hook can be had to hold a network."""
    script = host.file("/run/lab/network")
    script.write_text(HOLD)
    script.chmod(0o755)
    with Daemon(host, config='hooks_dir = "/run/lab"\n') as jackfieldd:
        yield jackfieldd


@contextlib.contextmanager
def busy(host: Host, daemon: Daemon) -> Iterator[Ask]:
    """Keep the network red busy with a change; what is asked meanwhile is done afterwards."""
    hold, held = (host.file(f"/run/lab/{name}") for name in ("hold", "held"))
    client = Client(daemon.api_socket.parent)
    hold.touch()
    applying = daemon.cli_process("apply", daemon.document(RED.format("red0", 1400)))
    wait_for(held.exists, 10, "the network to be busy")
    with contextlib.ExitStack() as stack:
        waiting = []

        def ask(method: str, path: str, body: str = "") -> None:
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.settimeout(10)
            connection.connect(str(daemon.api_socket))
            head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall((head + body).encode())
            waiting.append(connection)
            # What is asked later is answered when that has been heard.
            client.request("GET", "/v1/networks")

        try:
            yield ask
        finally:
            hold.unlink()
        assert 0 == applying.wait(10)
        assert all(connection.recv(12) == b"HTTP/1.1 200" for connection in waiting)


def test_a_device_that_is_renamed_just_before_its_port_goes(host: Host, daemon: Daemon) -> None:
    """It goes with its port, although nobody has named it back yet."""
    daemon.cli("apply", daemon.document(RED.format("red0", 1500)))
    host.guest("a")
    daemon.cli("attach", "red", "--netns", "a", "--ifname", "eth0")
    daemon.cli("attach", "red", "--tap", "t0")
    with busy(host, daemon) as ask:
        ask("DELETE", "/v1/networks/red/ports")
        host.run(["ip", "link", "set", "t0", "down", "name", "t9"])
    assert {"lo", "red0"} == host.links()


def test_a_bridge_that_is_renamed_just_before_it_goes(host: Host, daemon: Daemon) -> None:
    """It goes with the definition that it was made for, and its address with it."""
    daemon.cli("apply", daemon.document(RED.format("red0", 1500)))
    with busy(host, daemon) as ask:
        ask("PUT", "/v1/networks/red", RED.format("red1", 1500))
        host.run(["ip", "link", "set", "red0", "down", "name", "red9"])
    assert {"lo", "red1"} == host.links()
    assert ["red1"] == [route["dev"] for route in host.ip("route")]
    assert {"steps": []} == json.loads(daemon.cli("plan", "red", "--json"))


def test_an_address_that_goes_meanwhile(host: Host, daemon: Daemon) -> None:
    """It is told of when the network is busy no more."""
    daemon.cli("apply", daemon.document(RED.format("red0", 1500)))
    blue = RED.format("blue0", 1500).replace(">red<", ">blue<").replace("10.0.0.1", "10.1.0.1")
    daemon.cli("apply", daemon.document(blue))

    def told(name: str) -> bool:
        networks = {one["name"]: one for one in daemon.cli("list", json=True)}
        return "was changed by somebody else" in (networks[name]["problem"] or "")

    with busy(host, daemon):
        for name in ("red", "blue"):
            host.run(["ip", "addr", "flush", "dev", f"{name}0"])
        # What was noticed first has been judged by then.
        wait_for(functools.partial(told, "blue"), 10, "the other network to say so")
    wait_for(functools.partial(told, "red"), 10, "the network to say so")


def test_a_device_that_is_set_down_and_renamed_meanwhile(host: Host, daemon: Daemon) -> None:
    """That it is down is told of as soon as it has its name back."""
    daemon.cli("apply", daemon.document(RED.format("red0", 1500)))
    blue = RED.format("blue0", 1500).replace(">red<", ">blue<").replace("10.0.0.1", "10.1.0.1")
    daemon.cli("apply", daemon.document(blue))
    daemon.cli("attach", "red", "--tap", "t0")
    daemon.cli("attach", "blue", "--tap", "t1")

    def told(name: str) -> bool:
        networks = {one["name"]: one for one in daemon.cli("list", json=True)}
        return "is not up" in (networks[name]["problem"] or "")

    with busy(host, daemon):
        host.run(["sh", "-ec", "ip link set t0 down; ip link set t1 down"])
        # The busy one has been noticed by then, and waits to be looked at.
        wait_for(functools.partial(told, "blue"), 10, "the other network to say so")
        host.run(["ip", "link", "set", "t0", "name", "t9"])
    wait_for(functools.partial(told, "red"), 10, "the network to say so")
    assert host.link("t0") is not None


def test_a_daemon_that_ends_while_links_go(daemon: Daemon) -> None:
    """What it notices at its end keeps it from ending no longer, and the next one mends it."""
    names = [f"red{number}" for number in range(8)]
    for number, name in enumerate(names):
        daemon.cli(
            "apply",
            daemon.document(
                f"<network><name>{name}</name><bridge name='{name}' stp='off'/>"
                f"<ip address='10.9.{number}.1' prefix='24'/></network>"
            ),
        )
    renames = "; ".join(f"ip link set {name} name x; ip link del x" for name in names)
    for _ in range(4):
        meddling = daemon.host.start(["sh", "-c", f"while :; do {renames}; done"], stderr=DEVNULL)
        daemon.terminate()
        meddling.kill9()
        daemon.start()
        for name in names:
            wait_for(functools.partial(daemon.host.link, name), 10, f"bridge {name}")
