"""A daemon that runs for long: what comes and goes, or fails, leaves nothing of itself behind."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import pytest

from jackfield.client import Client
from jackfield.errors import InternalError, JackfieldError
from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.host import Host, HostProcess
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

ROUNDS = 5
REPORT = "/run/lab/counts"
COUNTING = Path(__file__).with_name("counting_daemon.py")
BOUNDED = ("jackfield.engine.views.Event", "jackfield.engine.events.", "jackfield.model.values.")
"""Of these the last events hold more with each round, until as many are there as are kept."""

TAKEN = (
    "import socket, time; taken = socket.socket();"
    # IP_FREEBIND: the address is not there yet.
    "taken.setsockopt(socket.SOL_IP, 15, 1); taken.bind(('10.0.2.1', 53)); taken.listen();"
    "print(flush=True); time.sleep(3600)"
)


class CountingDaemon(Daemon):
    """A daemon that says how many objects of ours it holds."""

    def _process(self, arguments: Sequence[str], log: IO[str]) -> HostProcess:
        command = [sys.executable, str(COUNTING), REPORT, *arguments]
        return self.host.start(command, stdout=log, stderr=log)

    def _check_loop(self) -> None:
        pass

    def counts(self) -> dict[str, int]:
        """Return how many objects of each class it holds."""
        report = self.host.file(REPORT)
        report.unlink(missing_ok=True)
        os.kill(self.pid, signal.SIGUSR1)
        wait_for(report.exists, 20, "the daemon to count")
        counts: dict[str, int] = json.loads(report.read_text())
        return {kind: count for kind, count in counts.items() if not kind.startswith(BOUNDED)}


@pytest.fixture
def daemon(host: Host) -> Iterator[CountingDaemon]:
    """Give a daemon that counts what it holds."""
    with contextlib.closing(CountingDaemon(host)) as jackfieldd:
        yield jackfieldd


def network(name: str, subnet: int, bridge: str) -> str:
    """Return the document of a network with DHCP."""
    return (
        f"<network><name>{name}</name><forward mode='nat'/><bridge name='{bridge}' stp='off'/>"
        f"<ip address='10.0.{subnet}.1' prefix='24'>"
        f"<dhcp><range start='10.0.{subnet}.9' end='10.0.{subnet}.99'/></dhcp></ip></network>"
    )


def over(name: str, uplink: str) -> str:
    """Return the document of a network on a bridge of ours over an uplink."""
    return (
        f"<network><name>{name}</name><forward mode='bridge'/>"
        f"<bridge name='lan0'><uplinks><interface dev='{uplink}'/></uplinks></bridge></network>"
    )


def outside(daemon: CountingDaemon) -> collections.Counter[str]:
    """Return what is seen of the daemon, and of what it has made, from outside."""
    process = Path(f"/proc/{daemon.pid}")
    places = (daemon.host.file(RUN_DIR), daemon.host.file(daemon.state_dir))
    # Each thread has its own; zombies are among them.
    children = [path.read_text().split() for path in process.glob("task/*/children")]
    return collections.Counter(
        [
            *(str(path) for place in places for path in place.rglob("*")),
            *(path.readlink().name.partition(":")[0] for path in (process / "fd").iterdir()),
            *("child" for some in children for _ in some),
            *(link["ifname"] for link in daemon.host.ip("link", "show")),
            *daemon.host.run(["nft", "list", "ruleset"]).stdout.splitlines(),
        ]
    )


def test_nothing_grows(host: Host, daemon: CountingDaemon) -> None:
    """Neither what the daemon holds, nor what it has on the host and on its disk."""
    client = Client(daemon.api_socket.parent)
    host.guest("a")
    host.run(["ip", "link", "add", "shared0", "type", "bridge"])
    taken = host.popen([sys.executable, "-c", TAKEN], stdout=-1)
    assert taken.stdout is not None
    assert taken.stdout.readline()
    client.request("PUT", "/v1/networks/red", network("red", 0, "red0"))

    def refused(method: str, path: str, body: object) -> None:
        with pytest.raises(JackfieldError) as raised:
            client.request(method, path, body)
        assert not isinstance(raised.value, InternalError)

    def comes_and_goes(name: str) -> None:
        client.request("PUT", f"/v1/networks/{name}", network(name, 1, "blue0"))
        client.request("POST", f"/v1/networks/{name}/stop")
        client.request("DELETE", f"/v1/networks/{name}")

    def is_only_asked_about(name: str) -> None:
        client.request("POST", "/v1/networks", network(name, 1, f"{name}br"))
        client.request("GET", f"/v1/networks/{name}/leases")
        client.request("DELETE", f"/v1/networks/{name}")

    def loses_its_uplink(name: str) -> None:
        host.run(["ip", "tuntap", "add", f"{name}nic", "mode", "tap"])
        client.request("PUT", f"/v1/networks/{name}", over(name, f"{name}nic"))
        host.run(["ip", "link", "del", f"{name}nic"])
        client.request("POST", f"/v1/networks/{name}/stop")
        client.request("DELETE", f"/v1/networks/{name}")

    def is_guest(name: str) -> None:
        plug = {"netns": "a", "ifname": "eth0", "name": name}
        client.request("POST", "/v1/networks/red/ports", plug)
        client.request("DELETE", f"/v1/ports/{name}")

    def is_no_guest(name: str) -> None:
        refused("POST", "/v1/networks/red/ports", {"netns": name, "ifname": "eth0"})

    def has_a_bridge_of_others(name: str) -> None:
        refused("PUT", f"/v1/networks/{name}", network(name, 1, "shared0"))

    def cannot_be_served(name: str) -> None:
        refused("PUT", f"/v1/networks/{name}", network(name, 2, "blue0"))

    acts: list[Callable[[str], None]] = [
        *(comes_and_goes, is_only_asked_about, loses_its_uplink, is_guest, is_no_guest),
        *(has_a_bridge_of_others, cannot_be_served),
    ]
    with contextlib.closing(taken.stdout):
        for act in acts:
            act("first")
        before, held = outside(daemon), daemon.counts()
        for number in range(ROUNDS):
            for act in acts:
                act(f"n{number}")
        wait_for(lambda: not outside(daemon) - before, 5, "nothing more to be there than before")
        now = daemon.counts()
        taken.kill()
        taken.wait()
    grown = {kind: (held.get(kind, 0), count) for kind, count in now.items()}
    assert {} == {
        kind: counts for kind, counts in grown.items() if counts[1] > counts[0] + ROUNDS // 2
    }
