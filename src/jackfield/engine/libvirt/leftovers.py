"""What a libvirt daemon that does not run any more left of a network, ended by us.

Nothing is touched whose identity is in doubt: the dnsmasq is the one with libvirt's
configuration of this network, the bridge has its name and address and nobody's mark, and a rule
is removed only where libvirt's own status names it.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
from pathlib import Path

from jackfield.engine.libvirt.files import Found, Places
from jackfield.engine.workplace import Workplace
from jackfield.errors import ForeignObject, HostError

__all__ = ["end_links", "end_rules", "why_not_ended"]

_STOP_LIMIT = 5.0


def why_not_ended(found: Found) -> str | None:
    """Return why a network cannot be ended without libvirt's daemon, ``None`` if it can."""
    if found.live is None or not found.live.mode.is_routed:
        return None
    if found.rules is None:
        return (
            "libvirt's daemon does not run, and its status file does not say how to remove its "
            "firewall rules: start libvirtd and import again"
        )
    return None


def end_links(tools: Workplace, places: Places, found: Found) -> None:
    """End the network's dnsmasq and remove its bridge; runs on the kernel thread."""
    network = found.live
    assert network is not None
    if network.mode.is_routed and network.bridge is not None and network.bridge.name is not None:
        link = tools.kernel.route.link(network.bridge.name)
        if link is not None:
            same = network.mac is None or link.mac_text == network.mac
            if link.kind != "bridge" or link.alias or not same:
                raise ForeignObject(
                    f"{link.describe()} is not the bridge that libvirt made; it is left alone"
                )
        _end_dnsmasq(places, found.name)
        if link is not None:
            tools.kernel.route.delete_links([link.index])
    for path in (places.running / found.name / "ports").glob("*.xml"):
        path.unlink()
    for suffix in ("xml", "pid"):
        (places.running / f"{found.name}.{suffix}").unlink(missing_ok=True)


def _end_dnsmasq(places: Places, name: str) -> None:
    try:
        pid = int((places.running / f"{name}.pid").read_text())
        descriptor = os.pidfd_open(pid)
    except (OSError, ValueError):
        return
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        wanted = f"--conf-file={places.services}/{name}.conf".encode()
        if wanted not in arguments or os.path.basename(arguments[0]) != b"dnsmasq":  # noqa: PTH119
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            if poll.poll(_STOP_LIMIT * 1000):
                return
        raise HostError(f"libvirt's dnsmasq of network {name!r}, pid {pid}, does not end")
    except FileNotFoundError:
        return
    finally:
        os.close(descriptor)


def end_rules(found: Found) -> list[str]:
    """Remove the network's rules; return what failed.  Blocks: run it on a thread."""
    failed = []
    for version, args in found.rules or ():
        name = "iptables" if version == 4 else "ip6tables"
        program = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if program is None:
            return [f"there is no {name}: the rules of libvirt for {found.name!r} are left"]
        done = subprocess.run(
            [program, "-w", *args], capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode:
            failed.append(f"{name} {' '.join(args)}: {done.stderr.strip()}")
    return failed
