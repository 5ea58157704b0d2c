"""lldpad: the agent that speaks LLDP, ECP and VDP with the switch at each NIC.

It is asked by netlink messages to its process id, as libvirt does it; there is no other door to
it that tells what the switch answered.  Every call opens a socket of its own, so that it may be
made on any thread; lldpad answers in well under a millisecond, or it is stuck.

What is known of lldpad 1.1 (``qbg/vdp.c`` and ``qbg/vdpnl.c`` there) and minded here:

- ``SETLINK`` is answered at once; what the switch says is seen by asking again and again.
- A refusal, and the end of an association, are shown **once**: who sees them first has them.
  The answer that shows one may leave out the instance after it.
- To de-associate one that it does not know makes one that it never forgets.
- An instance that the switch did not answer for vanishes, after 3 seconds.
- ``ENXIO`` and ``ENODEV`` mean that there is no carrier, or no switch (yet) that speaks VDP;
  ``EPROTONOSUPPORT`` that lldpad.conf does not enable it.
- Of an uplink's instances it shows 92 (``message.py``).
- A NIC that goes down while a frame of ECP is not acknowledged leaves ECP stuck there until
  lldpad is started anew (``qbg/ecp.c``); it gives up a frame after 1.5 seconds.
- What a switch ends by itself vanishes only if the request had the port id of its sender in the
  header: lldpad sleeps for a second and tells that port, whether somebody is there or not.  Our
  sockets are gone by then; that it has vanished is enough.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from jackfield.errors import HostError, KernelError, MissingFeature, NotFound
from jackfield.host.netlink.message import (
    NLMSG_ERROR,
    Message,
    acknowledgement,
    attributes,
    encode,
    errno_text,
    split,
)
from jackfield.host.netlink.route import RouteSocket
from jackfield.host.netlink.socket import NETLINK_ROUTE
from jackfield.host.vdp.message import Request, Shown, Station, ask, read, tell
from jackfield.model.values import InterfaceName
from jackfield.state.association import SwitchAssociation

__all__ = ["CALM", "Lldpad", "NotReady", "find_station", "knows"]

CALM = 2.0
"""Seconds after which nothing that a switch has not acknowledged is on its way any more."""

_PID_FILE = Path("/run/lldpad.pid")
_PATIENCE = 2.5
"""Seconds in which it has to answer; it may be asleep for one (see above)."""

_LOOKS = 3
_DATAGRAM = 64 << 10
_PORT_ID = struct.Struct("=I")
_IFLA_VLAN_ID = 1
_DEPTH = 8
"""How many links may be stacked: more is a loop, which the kernel does not make."""


class NotReady(HostError):
    """There is no switch yet, or not any more, that VDP could be spoken with at a NIC."""


class Lldpad:
    """The lldpad of this network namespace, running or not."""

    def __init__(self, pid_file: Path = _PID_FILE) -> None:
        """Find it by ``pid_file``, each time anew: it may be another one by then."""
        self._pid_file = pid_file

    def require(self) -> None:
        """Raise ``MissingFeature`` if it does not run."""
        self._pid()

    def tell(self, station: Station, item: SwitchAssociation, request: Request) -> None:
        """Ask for a VSI instance to be associated or de-associated; does not wait for the switch.

        Raises ``NotReady`` where nobody at the other end speaks VDP, ``MissingFeature`` where
        lldpad does not run or does not speak it at this NIC, ``KernelError`` for the rest.
        """
        try:
            self._request(tell(station, item, request))
        except KernelError as error:
            if error.errno in (errno.ENXIO, errno.ENODEV):
                raise NotReady(
                    f"no switch at {station.name} has offered VDP to lldpad",
                    hint=(
                        f"is EVB (802.1Qbg) enabled on the switch's port? "
                        f"lldptool -t -n -g ncb -i {station.name} shows what the switch says"
                    ),
                ) from error
            if error.errno == errno.EPROTONOSUPPORT:
                raise MissingFeature(
                    f"lldpad does not speak VDP at {station.name}",
                    hint=(
                        f"lldpad.conf must enable EVB and VDP for {station.name} before lldpad "
                        "starts (docs/vepa.md)"
                    ),
                ) from error
            raise

    def look(self, station: Station) -> Shown:
        """Return what has become of the VSI instances at a NIC.

        Raises ``MissingFeature`` where lldpad does not run.
        """
        try:
            return read(self._request(ask(station)))
        except KernelError as error:
            if error.errno == errno.ENODEV:
                return Shown(responses={})
            raise

    def _pid(self) -> int:
        try:
            # It is padded with blanks and NULs to the longest number.
            return int(self._pid_file.read_text().strip(" \0\n"))
        except (OSError, ValueError):
            raise _not_running(f"there is no {self._pid_file}") from None

    def _request(self, message: Message) -> bytes:
        """Return the body of the answer to one message."""
        pid = self._pid()
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE
        ) as asker:
            asker.bind((0, 0))
            self._send(asker, pid, message)
            end = time.monotonic() + _PATIENCE
            while (left := end - time.monotonic()) > 0:
                asker.settimeout(left)
                try:
                    data, sender = asker.recvfrom(_DATAGRAM)
                except TimeoutError:
                    break
                if sender[0] == pid:
                    return _body(message, data)
        raise HostError(
            f"cannot {message.what}: lldpad (process {pid}) does not answer",
            hint="systemctl restart lldpad",
        )

    def _send(self, asker: socket.socket, pid: int, message: Message) -> None:
        data = encode(message, 1)
        own = _PORT_ID.pack(asker.getsockname()[0])
        try:
            asker.sendto(data[:12] + own + data[16:], (pid, 0))
        except ConnectionRefusedError:
            raise _not_running(f"process {pid} of {self._pid_file} does not listen") from None
        except OSError as error:
            number = error.errno or errno.EIO
            raise KernelError(
                f"cannot {message.what}: {errno_text(number)} while sending to lldpad",
                errno=number,
                hint="the daemon needs CAP_NET_ADMIN",
            ) from error


def knows(look: Callable[[], Shown], instance: UUID) -> bool:
    """Tell whether lldpad has something to de-associate, as far as ``look`` can show.

    What was refused is shown, and gone, with the first look; a later one may leave something out.
    """
    look()
    return any(not look().lacks(instance) for _ in range(_LOOKS))


def find_station(route: RouteSocket, uplink: InterfaceName) -> Station:
    """Return the NIC below an uplink, and the VLAN of the first VLAN device on the way there."""
    what = f"find the switch at {uplink}"
    link = route.link(uplink)
    vlan = 0
    for _ in range(_DEPTH):
        if link is None:
            raise NotFound(f"cannot {what}: there is no link {uplink}")
        if link.kind != "vlan" or link.lower is None or link.lower_netns is not None:
            return Station(index=link.index, name=link.name, vlan=vlan)
        number = int.from_bytes(attributes(link.data).get(_IFLA_VLAN_ID, b"\0\0"), sys.byteorder)
        vlan = vlan or number
        lower = link.lower
        link = next((one for one in route.links().values() if one.index == lower), None)
    raise HostError(f"cannot {what}: too many links are stacked on each other")


def _body(message: Message, data: bytes) -> bytes:
    """Return the body of lldpad's answer; ``KernelError`` with the errno of one that refuses."""
    for kind, flags, _, start, end in split(data):
        if kind != NLMSG_ERROR:
            return data[start:end]
        number, _ = acknowledgement(kind, flags, data[start:end])
        if not number:
            return b""
        raise KernelError(f"cannot {message.what}: lldpad says {errno_text(number)}", errno=number)
    raise HostError(f"cannot {message.what}: lldpad's answer is not a netlink message")


def _not_running(why: str) -> MissingFeature:
    return MissingFeature(
        f"lldpad does not run ({why}): nobody speaks VDP with the switch",
        hint="install and start lldpad, with VDP enabled for the uplink in its lldpad.conf",
    )
