"""jackfieldd that kills itself: ``crashing_daemon.py DIRECTORY ARGUMENTS…``.

Every act that leaves a trace outside the process is numbered: netlink requests, batches of rules,
sysctls, ioctls, processes, signals, files, commits of the database, changes of Open vSwitch's,
what lldpad is told.
When the file ``arm`` in DIRECTORY holds a number, that act and the ones before it are counted from
the next one on, and immediately before the act of that number the daemon sends itself SIGKILL.
What it was about to do is in ``crashed`` then; ``acts`` lists what was done since the arming.
Killed before each act in turn, it has been killed between any two of them.

The interpreter is started and everything imported once: each line on standard input forks a
daemon, whose pid is printed, and its wait status when it has ended.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import os
import signal
import stat
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR
_FILE_ACTS = frozenset(
    {
        "os.chmod",
        "os.chown",
        "os.link",
        "os.mkdir",
        "os.posix_spawn",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.symlink",
        "os.truncate",
    }
)
_NOT_COUNTED = ("/proc/", "/sys/", "/dev/null")

# linux/if_tun.h: every request that makes or changes a tap is of type 'T'.
_TUN_REQUESTS = ord("T")

_BATCH_BEGIN = 0x10
_GET = 2


class Acts:
    """Counts acts, once armed, and ends the program before one of them."""

    def __init__(self, directory: Path) -> None:
        """Look for the arming in ``directory``."""
        self._arm = directory / "arm"
        self._done = directory / "acts"
        self._crashed = directory / "crashed"
        # The watch's report is no act of the daemon.
        self._not_counted = (*_NOT_COUNTED, str(directory / "blocked"))
        self._limit: int | None = None
        self._count = 0
        self._busy = threading.local()

    def act(self, what: str) -> None:
        """Note that ``what`` is about to be done; do not return if it is the one."""
        if getattr(self._busy, "now", False):
            return
        self._busy.now = True
        try:
            self._act(what)
        finally:
            self._busy.now = False

    def _act(self, what: str) -> None:
        if self._limit is None:
            try:
                self._limit = int(self._arm.read_text())
            except FileNotFoundError:
                return
            self._arm.unlink()
        self._count += 1
        with self._done.open("a") as file:
            file.write(f"{self._count}: {what}\n")
        if self._count == self._limit:
            stack = "".join(traceback.format_stack()[-12:-3])
            self._crashed.write_text(f"act {self._count}: {what}\n{stack}")
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take one audit event of the interpreter (``sys.addaudithook``)."""
        if event in _FILE_ACTS and not isinstance(arguments[0], int):
            if not _is_so(event, arguments):
                self.act(f"{event} {arguments[:2]}")
        elif event == "open":
            path, _mode, flags = arguments
            if not isinstance(path, str | bytes) or not flags & _WRITES:
                return
            if flags & os.O_NONBLOCK and not flags & os.O_CREAT:
                # A named pipe, tried until somebody reads it: that leaves no trace.
                return
            name = os.fsdecode(path)
            if not name.startswith(self._not_counted):
                self.act(f"open {name}")
        elif event == "fcntl.ioctl":
            request = arguments[1] & 0xFFFFFFFF
            if request >> 8 & 0xFF == _TUN_REQUESTS:
                self.act(f"ioctl {request:#x}")


def _is_so(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether a folder to be made is there already, or a file has the mode it is to have.

    Such a call leaves no trace: killed before it, a daemon leaves what it leaves when it is killed
    before its next act.
    """
    if event not in ("os.mkdir", "os.chmod"):
        return False
    try:
        found = Path(os.fsdecode(arguments[0])).stat()
    except OSError:
        return False
    return event == "os.mkdir" or arguments[1] == stat.S_IMODE(found.st_mode)


def install(acts: Acts) -> None:
    """Put ``acts`` before everything that the program does to the world."""
    from jackfield.engine.store.tables import Store
    from jackfield.host.netlink.message import Message
    from jackfield.host.netlink.socket import NetlinkSocket
    from jackfield.host.openvswitch.jsonrpc import Connection
    from jackfield.host.vdp.lldpad import Lldpad

    def before(owner: Any, name: str, describe: Callable[..., str | None]) -> None:
        original = getattr(owner, name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            what = describe(*arguments)
            if what is not None:
                acts.act(what)
            return original(*arguments, **keywords)

        setattr(owner, name, call)

    def describe_send(_: NetlinkSocket, messages: list[Message]) -> str | None:
        first = messages[0]
        # Of the subsystem nftables nothing but whole batches; rtnetlink's questions are its
        # every third type.
        asks = first.type != _BATCH_BEGIN and (first.type >> 8 or first.type & 3 == _GET)
        return None if asks else "send " + "; ".join(dict.fromkeys(item.what for item in messages))

    def describe_write(descriptor: int, data: bytes) -> str | None:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if path.endswith("/ports.journal"):
            return "write to the journal of ports"
        leaves_trace = path.startswith(("/proc/sys/", "/sys/"))
        return f"write {data!r} to {path}" if leaves_trace else None

    def describe_transaction(_: Connection, message: dict[str, Any]) -> str | None:
        if message.get("method") != "transact":
            return None
        words = [
            f"{operation['op']} {operation['table']}"
            for operation in message["params"][1:]
            if operation["op"] not in ("select", "wait")
        ]
        return f"change Open vSwitch: {', '.join(words)}" if words else None

    def describe_telling(_: Lldpad, __: object, ___: int, message: Message) -> str | None:
        return None if message.type & 3 == _GET else f"tell lldpad: {message.what}"

    before(NetlinkSocket, "_send", describe_send)
    before(Lldpad, "_send", describe_telling)
    before(Connection, "_send", describe_transaction)
    before(Store, "commit", lambda _: "commit")
    before(os, "write", describe_write)
    before(os, "mknod", lambda path, *_: f"make the device node {path}")
    before(os, "mkfifo", lambda path, _: f"make the pipe {path}")
    before(os, "set_blocking", lambda _, blocking: "write to the pipe" if blocking else None)
    before(signal, "pidfd_send_signal", lambda _, number: f"signal {number}")
    sys.addaudithook(acts.audit)


def _run(directory: Path, arguments: list[str]) -> int:
    """Be the daemon; return its exit status."""
    from jackfield import daemon
    from tests.lab.watched_daemon import Watch

    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    # Whoever waits for a daemon in vain can ask it where it is.
    faulthandler.register(signal.SIGUSR1)
    Watch(directory / "blocked").install()
    install(Acts(directory))
    try:
        return daemon.main(arguments)
    except BaseException:
        traceback.print_exc()
        return 70


def main() -> None:
    """Start a daemon for each line of standard input."""
    # The repository, not the script's own folder, is where imports come from.
    sys.path[0] = str(Path(__file__).parents[2])
    # Imported once, here.
    importlib.import_module("jackfield.daemon")
    importlib.import_module("tests.lab.watched_daemon")
    gc.freeze()
    directory = Path(sys.argv[1])
    for _ in sys.stdin:
        pid = os.fork()
        if not pid:
            status = _run(directory, sys.argv[2:])
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    main()
