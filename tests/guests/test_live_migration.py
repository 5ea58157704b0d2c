"""A running guest moves to a host whose network of that name is made otherwise.

::

    first:  guest ── tap ── br0 (somebody else's) ── eth1 ──┐
                                                           LAN ── outside 192.0.2.1
    second: guest ── macvtap ── eth8 ──────────────────────┘
"""

from __future__ import annotations

import contextlib
import socket
import sys
import tempfile
from collections.abc import Iterator

import pytest

from tests.guests.tiny import TinyGuest
from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.host import Host
from tests.lab.switch import Lan
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

MAC = "52:54:00:00:00:01"
BRIDGE = "<network><name>red</name><forward mode='bridge'/><bridge name='br0'/></network>"
MACVTAP = """
<network><name>red</name><forward mode='{mode}'><interface dev='eth8'/></forward></network>
"""


@pytest.fixture
def daemons(lan: Lan, outside: Host) -> Iterator[tuple[Daemon, Daemon]]:
    """Give two hosts with a daemon each, whose networks are still to be made."""
    assert outside.name == "outside"
    with Host("first") as first, Host("second") as second:
        lan.plug(first, "eth1")
        first.run(["ip", "link", "add", "br0", "up", "type", "bridge", "stp_state", "0"])
        first.run(["ip", "link", "set", "eth1", "master", "br0"])
        lan.plug(second, "eth8")
        with Daemon(first) as one, Daemon(second) as two:
            yield one, two


def run(host: Host, incoming: str | None = None) -> TinyGuest:
    """Start the guest, or what waits for it."""
    words = ("run", "--nic", f"network=red,mac={MAC}", "--name", "anna", "--run-dir", RUN_DIR)
    return TinyGuest(
        host,
        prefix=[sys.executable, "-m", "jackfield.cli.main", *words, "--"],
        arguments=["-global", "virtio-net-pci.romfile="],
        incoming=incoming,
    )


@pytest.mark.shows("live migration", "a real guest, from a bridge to a macvtap")
@pytest.mark.parametrize("mode", ["bridge", "vepa", "passthrough"])
def test_a_connection_outlives_the_move(
    outside: Host, daemons: tuple[Daemon, Daemon], mode: str
) -> None:
    """A TCP connection goes on; the port is one host's before, and the other's after."""
    first, second = daemons
    first.cli("apply", first.document(BRIDGE))
    second.cli("apply", second.document(MACVTAP.format(mode=mode)))
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="jf-"))
        uri = f"unix:{folder}/move"
        here = stack.enter_context(run(first.host))
        here.up("192.0.2.20/24")
        here.run("nc -ll -p 7 -e cat </dev/null >/dev/null 2>&1 &")
        connection = stack.enter_context(connect(outside, "192.0.2.20"))
        assert "before" == echo(connection, "before")

        there = stack.enter_context(run(second.host, incoming=uri))
        here.migrate(uri)
        assert "after" == echo(connection, "after")
        there.wait_arrived()
        assert MAC == there.mac()
        wait_for(lambda: not first.cli("ports", json=True), 10, "the first host's port to be freed")
        (port,) = second.cli("ports", json=True)
        assert (MAC, "anna") == (port["mac"], port["owner"]["name"])
        there.close()
        wait_for(lambda: not second.cli("ports", json=True), 10, "the port to be freed")


def connect(outside: Host, address: str) -> socket.socket:
    """Return a connection to the guest's echo server, as soon as there is one."""

    def attempt() -> socket.socket | None:
        connection = outside.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.settimeout(30)
        try:
            connection.connect((address, 7))
        except OSError:
            connection.close()
            return None
        return connection

    found = wait_for(attempt, 20, "the guest's echo server")
    assert found is not None
    return found


def echo(connection: socket.socket, text: str) -> str:
    """Send ``text`` and return as much of what comes back."""
    connection.sendall(text.encode())
    answer = b""
    while len(answer) < len(text):
        piece = connection.recv(100)
        assert piece, "the guest closed the connection"
        answer += piece
    return answer.decode()
