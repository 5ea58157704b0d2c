"""jackfieldd in a guest: functions that ``inside.py`` runs there, for tests outside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

from jackfield.client import Client
from jackfield.errors import DaemonUnreachable
from tests.lab.wait import wait_for
from tests.rpc.client import RawClient

__all__ = ["ask", "ask_killed", "attach_held", "create_client_port", "kill", "log", "start"]

RUN_DIR = Path("/run/jackfield")
FOLDER = Path("/run/daemon")
PROGRAM = Path(__file__).parents[1] / "lab/crashing_daemon.py"

_client = Client(RUN_DIR)
_server: subprocess.Popen[str] | None = None
_pid = 0


def start(configuration: str = "") -> None:
    """Start a daemon, and wait until it answers; ``configuration`` is for the first one."""
    global _server, _pid
    if _server is None:
        FOLDER.mkdir()
        (FOLDER / "jackfield.toml").write_text(configuration)
        with (FOLDER / "log").open("a") as log:
            _server = subprocess.Popen(
                [
                    *(sys.executable, str(PROGRAM), str(FOLDER)),
                    *("--config", str(FOLDER / "jackfield.toml")),
                    *("--run-dir", str(RUN_DIR), "--state-dir", "/run/state"),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                bufsize=1,
            )
    assert _server.stdin is not None
    assert _server.stdout is not None
    _server.stdin.write("start\n")
    _pid = int(_server.stdout.readline())

    def answers() -> bool:
        with contextlib.suppress(DaemonUnreachable):
            _client.request("GET", "/v1/version")
            return True
        return False

    try:
        wait_for(answers, 60, "jackfieldd to answer")
    except AssertionError as error:
        error.add_note((FOLDER / "log").read_text())
        raise


def kill() -> None:
    """End the daemon at once."""
    os.kill(_pid, signal.SIGKILL)
    _reap()


def ask(method: str, path: str, body: object = None) -> Any:
    """Return what the daemon answers at its HTTP socket."""
    return _client.request(method, path, body)


def ask_killed(act: int, method: str, path: str, body: object = None) -> str | None:
    """Ask a daemon that dies before the act of this number, and start the next one.

    Returns what it was about to do (``crashed``), or ``None`` when the answer came first.
    """
    for name in ("acts", "crashed", "arm"):
        (FOLDER / name).unlink(missing_ok=True)
    (FOLDER / "arm.new").write_text(str(act))
    (FOLDER / "arm.new").rename(FOLDER / "arm")
    crashed = None
    try:
        _client.request(method, path, body)
    except DaemonUnreachable:
        _reap()
        crashed = (FOLDER / "crashed").read_text()
    else:
        # It goes on counting.
        kill()
    start()
    return crashed


def attach_held(network: str, mac: str) -> int:
    """Make a port that is kept by a process of its own; return that process's number."""
    told, tell = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            body = {"handover": True, "mac": mac, "hold": True}
            Client(RUN_DIR).request("POST", f"/v1/networks/{network}/ports", body)
            os.write(tell, b"done")
            signal.pause()
        finally:
            os._exit(1)
    os.close(tell)
    try:
        assert os.read(told, 4), "the process could not attach"
    finally:
        os.close(told)
    return process


def create_client_port(network: str, mac: str) -> None:
    """Create a port as libvirt's QEMU driver does, which makes the device by itself."""
    with RawClient(RUN_DIR / "libvirt-sock", timeout=60) as client:
        client.open()
        text = (
            f"<networkport><uuid>{uuid4()}</uuid><owner><name>guest</name><uuid>{uuid4()}</uuid>"
            f"</owner><mac address='{mac}'/></networkport>"
        )
        client.call("port_create", client.lookup(network), text, 0)


def log() -> str:
    """Return everything that the daemons have written."""
    return (FOLDER / "log").read_text()


def _reap() -> None:
    """Wait until the daemon has ended; its starter says so in a line."""
    assert _server is not None
    assert _server.stdout is not None
    _server.stdout.readline()
