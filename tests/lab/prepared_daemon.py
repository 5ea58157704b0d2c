"""Forks of jackfieldd with everything imported: ``prepared_daemon.py DESCRIPTOR``.

To import the program takes most of the time in which a daemon starts, so a run of tests does it
once, outside all hosts.  Each message at the UNIX socket DESCRIPTOR (SOCK_SEQPACKET) asks for one
daemon: JSON with ``host``, the process id of the host's first process, ``report``, where its watch
writes, and ``arguments``; with it come two descriptors: the log, and a pipe, to which its process
id is written, and its wait status when it has ended.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

# linux/sched.h: network, mounts, process ids, host name and IPC.
_NAMESPACES = 0x40000000 | 0x00020000 | 0x20000000 | 0x04000000 | 0x08000000


def main() -> None:
    """Fork until the other end of the socket is closed."""
    # The repository, not the script's own folder, is where imports come from.
    sys.path[0] = str(Path(__file__).parents[2])
    importlib.import_module("jackfield.daemon")
    importlib.import_module("tests.lab.watched_daemon")
    gc.freeze()
    # Nobody here waits for those that wait for the daemons.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    asked = socket.socket(fileno=int(sys.argv[1]))
    while True:
        message, descriptors, _, _ = socket.recv_fds(asked, 1 << 16, 2)
        if not message:
            return
        if os.fork() == 0:
            asked.close()
            _start(json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _start(wanted: dict[str, Any], log: int, pipe: int) -> None:
    """Have a child on the host be the daemon, and tell of it; only the child returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    libc = ctypes.CDLL(None, use_errno=True)
    host = os.pidfd_open(wanted["host"])
    if libc.setns(host, _NAMESPACES):
        number = ctypes.get_errno()
        os.write(log, f"cannot enter the host: {os.strerror(number)}\n".encode())
        os._exit(1)
    os.close(host)
    pid = os.fork()
    if pid:
        os.close(log)
        os.write(pipe, f"{pid}\n".encode())
        os.write(pipe, f"{os.waitpid(pid, 0)[1]}\n".encode())
        os._exit(0)
    os.close(pipe)
    null = os.open("/dev/null", os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(null)
    os.close(log)
    from jackfield import daemon
    from tests.lab.watched_daemon import Watch

    Watch(Path(wanted["report"])).install()
    sys.argv = ["jackfieldd", *wanted["arguments"]]
    sys.exit(daemon.main())


if __name__ == "__main__":
    main()
