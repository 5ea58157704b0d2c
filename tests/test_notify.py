"""What the service manager is told and hands over."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import jackfield
from jackfield import notify


@pytest.mark.parametrize("abstract", [False, True])
def test_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    """The manager's socket gets the lines, be it a file or abstract."""
    name = f"@jackfield-test-{os.getpid()}" if abstract else os.fspath(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0", 1))
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        assert notify.ready("serving")
        assert b"READY=1\nSTATUS=serving" == manager.recv(4096)
        assert notify.status("busy")
        assert b"STATUS=busy" == manager.recv(4096)
        assert notify.stopping()
        assert b"STOPPING=1" == manager.recv(4096)
        assert notify.watchdog()
        assert b"WATCHDOG=1" == manager.recv(4096)


def test_no_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a manager, or with one that is gone, nothing is told and nothing fails."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify.ready("serving")
    monkeypatch.setenv("NOTIFY_SOCKET", os.fspath(tmp_path / "gone"))
    assert not notify.ready("serving")


def test_watchdog_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of what is asked, and only when it is asked of this process."""
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    for asked, interval in [("30000000", 15.0), ("", None), ("0", None), ("soon", None)]:
        monkeypatch.setenv("WATCHDOG_USEC", asked)
        assert interval == notify.watchdog_interval()
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    assert notify.watchdog_interval() is None


_TAKE = """
import os
from jackfield import notify
os.environ["LISTEN_PID"] = os.environ.get("FOR", str(os.getpid()))
os.environ["LISTEN_FDS"] = "1"
sockets = notify.listen_fds()
print([one.getsockname() for one in sockets], [one.get_inheritable() for one in sockets])
print("LISTEN_FDS" in os.environ)
"""


@pytest.mark.parametrize("addressee", [None, "1"])
def test_listen_fds(tmp_path: Path, addressee: str | None) -> None:
    """Descriptor 3 is taken over when it is for this process."""
    path = os.fspath(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        source = os.fspath(Path(jackfield.__file__).parents[1])
        done = subprocess.run(
            # The shell puts the socket where the manager would.
            [
                "bash",
                "-c",
                f'exec "$0" -c "$1" 3<&{listener.fileno()}',
                sys.executable,
                _TAKE,
            ],
            pass_fds=[listener.fileno()],
            env={"PYTHONPATH": source} | ({} if addressee is None else {"FOR": addressee}),
            capture_output=True,
            text=True,
            check=True,
        )
    taken = "[] []" if addressee else f"['{path}'] [False]"
    assert f"{taken}\nFalse\n" == done.stdout
