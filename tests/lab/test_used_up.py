"""A daemon that runs out of something: what cannot be done is refused, and says what is used up.

What is refused leaves nothing, and works when there is room again.
"""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.daemon import Daemon
from tests.lab.host import Host
from tests.lab.namespace import CommandFailed
from tests.lab.snapshot import take_snapshot

pytestmark = pytest.mark.lab

RED = """
<network>
  <name>red</name><forward mode='nat'/><bridge name='red0' stp='off'/>
  <ip address='10.0.0.1' prefix='24'><dhcp><range start='10.0.0.9' end='10.0.0.99'/></dhcp></ip>
</network>
"""
FILES = "nearly as many files open as it may have"


@contextlib.contextmanager
def files_left(daemon: Daemon, number: int) -> Iterator[None]:
    """Leave the daemon so many files that it may open."""
    opened = {int(path.name) for path in Path(f"/proc/{daemon.pid}/fd").iterdir()}
    free = (number for number in range(1 << 16) if number not in opened)
    limit = next(nth for count, nth in enumerate(free) if count == number)
    before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)


def refused(daemon: Daemon, *command: str, said: str) -> None:
    """Assert that a command is refused with words, and changes nothing."""
    before = take_snapshot(daemon.host)
    with pytest.raises(CommandFailed, match=said):
        daemon.cli(*command)
    assert before == take_snapshot(daemon.host)


def test_files(host: Host, daemon: Daemon) -> None:
    """What makes something is refused while few are left; what takes away is not."""
    host.guest("a")
    attach = ("attach", "red", "--netns", "a", "--ifname", "eth0")
    daemon.cli("define", daemon.document(RED))
    before = take_snapshot(host)
    with files_left(daemon, 40):
        refused(daemon, "start", "red", said=f"cannot start network 'red': .*{FILES}")
        refused(daemon, "apply", daemon.document(RED.replace("red", "blue")), said=FILES)
    daemon.cli("start", "red")
    with files_left(daemon, 40):
        refused(daemon, *attach, said=f"cannot attach to network 'red': .*{FILES}")
        changed = daemon.document(RED.replace("10.0.0.99", "10.0.0.98"))
        refused(daemon, "apply", changed, said=f"cannot change network 'red': .*{FILES}")
    daemon.cli(*attach)
    with files_left(daemon, 40):
        daemon.cli("detach", "a")
        daemon.cli("stop", "red")
    assert before == take_snapshot(host)


def test_files_for_callers(daemon: Daemon) -> None:
    """Callers that take more than there is are turned away; those before them are served on."""
    daemon.cli("define", daemon.document(RED))
    with files_left(daemon, 60), contextlib.ExitStack() as stack:
        for _ in range(100):
            caller = stack.enter_context(socket.socket(socket.AF_UNIX))
            caller.settimeout(10)
            caller.connect(str(daemon.api_socket))
            caller.sendall(b"GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = caller.recv(1 << 16)
            if not answer.startswith(b"HTTP/1.1 200"):
                break
        assert answer.startswith(b"HTTP/1.1 503")
        assert FILES.encode() in answer
        with pytest.raises(CommandFailed, match=FILES):
            daemon.cli("list")
    assert ["red"] == [network["name"] for network in daemon.cli("list", json=True)]
    assert "out of system resource" not in daemon.log_text()
