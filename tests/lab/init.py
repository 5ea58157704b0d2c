"""Process 1 of a lab host: mounts what is the host's own, reaps orphans, ends with its parent.

Run by ``Host`` through unshare(1) in new network, mount, PID, UTS and IPC namespaces, with the
host's name as argument.  Prints a line when the host is ready and ends when its standard input
ends, which it does however the parent died; the kernel then ends every process of the host, and
with them go its links, mounts and files.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
from pathlib import Path
from types import FrameType

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND = 2, 4, 8, 4096
SIOCSIFFLAGS = 0x8914
NODES = Path("/dev/jackfield")
IFF_UP = 1

libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str, flags: int) -> None:
    """Mount ``source`` on ``target``; ``flags`` are the MS_ constants."""
    if libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None):
        number = ctypes.get_errno()
        raise OSError(number, f"mount {kind or source} on {target}: {os.strerror(number)}")


def mount_own_files() -> None:
    """Give the host its own /proc, /sys, /run, resolv.conf and nodes of macvtaps."""
    guarded = MS_NOSUID | MS_NODEV | MS_NOEXEC
    mount("proc", "/proc", "proc", guarded)
    mount("sysfs", "/sys", "sysfs", guarded)
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV)
    NODES.mkdir(mode=0o755, exist_ok=True)
    mount("tmpfs", str(NODES), "tmpfs", MS_NOSUID | MS_NOEXEC)
    Path("/run/lab").mkdir()
    Path("/run/netns").mkdir()
    resolv_conf = Path("/run/lab/resolv.conf")
    resolv_conf.write_text("")
    target = Path(os.path.realpath("/etc/resolv.conf"))
    if not target.exists():
        # The machine's own file lives below the /run that was just covered.
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("")
    mount(str(resolv_conf), str(target), "", MS_BIND)


def set_up_network() -> None:
    """Set lo up, and the sysctls that a new namespace copies from the machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        Path("/proc/sys/net", name).write_text("0")
    # The check for duplicates of an address begins at once, not after up to a second of chance.
    Path("/proc/sys/net/ipv6/conf/default/router_solicitation_delay").write_text("0")


def reap(_signal: int, _frame: FrameType | None) -> None:
    """Collect every child that has ended: orphans of the host become ours."""
    while True:
        try:
            pid, _status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def main() -> None:
    """Set the host up, say so, and wait for the end of standard input."""
    socket.sethostname(sys.argv[1])
    mount_own_files()
    set_up_network()
    signal.signal(signal.SIGCHLD, reap)
    os.write(1, b"ready\n")
    os.close(1)
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
