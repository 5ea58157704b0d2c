"""Run a program as systemd would confine it: ``confined.py SETTINGS PROGRAM ARGUMENT…``.

SETTINGS is JSON with any of ``capabilities`` (the bounding set, ``CAP_…``), ``no_new_privileges``,
``no_writable_code``, ``system_calls`` (those allowed, the others fail with EPERM), ``families``
(those that ``socket`` may be asked for, ``AF_…``) and ``no_set_id`` (no file may get a set-user-ID
or set-group-ID bit).
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import sys
from pathlib import Path

PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_MDWE = 24, 38, 65
MDWE_REFUSE_EXEC_GAIN = 1
SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, SCMP_CMP_EQ, SCMP_CMP_MASKED_EQ = 0x7FFF0000, 0x00050000, 4, 7

# Which argument of a system call is the mode of a file.
MODES = {
    "chmod": 1,
    "fchmod": 1,
    "fchmodat": 2,
    "fchmodat2": 2,
    "mkdir": 1,
    "mkdirat": 2,
    "mknod": 1,
    "mknodat": 2,
}
S_ISUID_OR_S_ISGID = 0o6000

# linux/capability.h, in the order of their numbers.
CAPABILITIES = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO
SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG
MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM
BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""


class Comparison(ctypes.Structure):
    """``struct scmp_arg_cmp`` of libseccomp."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process (prctl(2))."""
    if libc.prctl(option, value, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {option}: {os.strerror(number)}")


def filter_system_calls(
    allowed: list[str], families: list[str] | None, *, no_set_id: bool = False
) -> None:
    """Allow these system calls only, sockets of these families only, and no set-ID bits."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(SCMP_ACT_ERRNO | errno.EPERM))
    for name in allowed:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            # Of another architecture.
            continue
        if name == "socket" and families is not None:
            for family in families:
                comparison = Comparison(0, SCMP_CMP_EQ, getattr(socket, family), 0)
                library.seccomp_rule_add_array(
                    context, SCMP_ACT_ALLOW, number, 1, ctypes.byref(comparison)
                )
        elif name in MODES and no_set_id:
            comparison = Comparison(MODES[name], SCMP_CMP_MASKED_EQ, S_ISUID_OR_S_ISGID, 0)
            library.seccomp_rule_add_array(
                context, SCMP_ACT_ALLOW, number, 1, ctypes.byref(comparison)
            )
        else:
            library.seccomp_rule_add_array(context, SCMP_ACT_ALLOW, number, 0, None)
    if library.seccomp_load(context):
        raise OSError("seccomp_load failed")


def main() -> None:
    """Give up what the settings say and become the program."""
    settings = json.loads(sys.argv[1])
    if (kept := settings.get("capabilities")) is not None:
        last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
        for number, name in enumerate(CAPABILITIES.split()[: last + 1]):
            if f"CAP_{name}" not in kept:
                prctl(PR_CAPBSET_DROP, number)
    if settings.get("no_new_privileges"):
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    if (allowed := settings.get("system_calls")) is not None:
        # prctl itself may not be allowed afterwards, but exec must.
        filter_system_calls(
            allowed,
            settings.get("families"),
            no_set_id=bool(settings.get("no_set_id")),
        )
    if settings.get("no_writable_code"):
        prctl(PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN)
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
