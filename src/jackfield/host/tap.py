"""Taps of ours: persistent, so that whoever runs the guest may open them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Sequence

from jackfield.errors import KernelError, MissingFeature, WrongState
from jackfield.host.kernel import Kernel
from jackfield.host.links import LinkDriver, found_mac, found_mtu, identity
from jackfield.host.netlink.link import Link, set_link
from jackfield.host.netlink.message import Message, attributes, errno_text
from jackfield.model.values import InterfaceName
from jackfield.state.links import TapLink

__all__ = ["TapDriver", "open_macvtap", "open_tap"]

_DEVICE = "/dev/net/tun"

# linux/if_tun.h
_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_TUNSETOWNER = 0x400454CC
_IFF_TAP = 0x0002
_IFF_MULTI_QUEUE = 0x0100
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_IFF_TUN_EXCL = 0x8000

_IFLA_TUN_OWNER = 1
_IFLA_TUN_MULTI_QUEUE = 7

_IFREQ = struct.Struct("=16sH22x")

# Every tap of a run holds a descriptor until it is marked; 1024 is the usual limit.
_TAPS_AT_ONCE = 128


class TapDriver(LinkDriver[TapLink]):
    """Makes, looks at and removes taps.

    A tap is made by ``ioctl`` and goes away with its descriptor until it is persistent, which it
    becomes only when it is marked: a crash leaves nothing without a mark.
    """

    info_kind = "tun"

    def _as_found(self, kernel: Kernel, wanted: TapLink, link: Link) -> TapLink:
        options = attributes(link.data)
        owner = options.get(_IFLA_TUN_OWNER)
        several = options.get(_IFLA_TUN_MULTI_QUEUE, b"\0") != b"\0"
        queues = wanted.queues if several == (wanted.queues > 1) else 2 if several else 1
        return TapLink(
            name=InterfaceName(link.name),
            alias=link.alias,
            mac=found_mac(wanted.mac, link),
            mtu=found_mtu(wanted.mtu, link),
            owner=None if owner is None else int(struct.unpack("=I", owner)[0]),
            queues=queues,
        )

    def _create(
        self, kernel: Kernel, resources: Sequence[TapLink]
    ) -> list[tuple[KernelError, TapLink]]:
        refused: list[tuple[KernelError, TapLink]] = []
        for start in range(0, len(resources), _TAPS_AT_ONCE):
            with contextlib.ExitStack() as descriptors:
                made: list[tuple[int, TapLink]] = []
                for tap in resources[start : start + _TAPS_AT_ONCE]:
                    descriptor = _open()
                    descriptors.callback(os.close, descriptor)
                    try:
                        _attach(descriptor, tap, exclusive=True)
                    except KernelError as error:
                        refused.append((error, tap))
                    else:
                        made.append((descriptor, tap))
                kernel.route.send([_mark(tap) for _, tap in made])
                for descriptor, tap in made:
                    if tap.owner is not None:
                        _control(descriptor, _TUNSETOWNER, tap.owner, f"give tap {tap.name} away")
                    _control(descriptor, _TUNSETPERSIST, 1, f"make tap {tap.name} persistent")
        return refused

    def _change(self, kernel: Kernel, wanted: TapLink, present: TapLink) -> None:
        what = f"change tap {wanted.name}"
        if (present.queues > 1) != (wanted.queues > 1):
            raise WrongState(
                f"cannot {what}: a tap cannot change between one queue and several",
                hint="detach the port and attach it again",
            )
        if wanted.owner is None and present.owner is not None:
            raise WrongState(
                f"cannot {what}: user {present.owner} owns it, and a tap's owner can be changed "
                "but not taken away",
                hint="detach the port and attach it again",
            )
        index = kernel.route.require_index(wanted.name, what)
        changes = identity(wanted, present)
        if changes:
            kernel.route.send([set_link(index, what, **changes)])
        if wanted.owner is not None and present.owner != wanted.owner:
            descriptor = _open()
            try:
                _attach(descriptor, wanted, exclusive=False)
                _control(descriptor, _TUNSETOWNER, wanted.owner, what)
            finally:
                os.close(descriptor)


def open_tap(tap: TapLink, *, offload: bool = True) -> list[int]:
    """Open a tap of ours once for each of its queues; the caller closes the descriptors.

    They carry virtio-net headers and no packet information, as hypervisors want them.  Without
    ``offload`` there are no such headers: then a guest fills in all checksums itself.
    """
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(tap.queues):
            descriptor = _open()
            stack.callback(os.close, descriptor)
            _attach(descriptor, tap, exclusive=False, offload=offload)
            opened.append(descriptor)
        stack.pop_all()
        return opened


def open_macvtap(path: str, queues: int) -> list[int]:
    """Open a macvtap through its device node, as ``open_tap`` does a tap."""
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR | (_IFF_MULTI_QUEUE if queues > 1 else 0)
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(queues):
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except OSError as error:
                number = error.errno or 0
                raise KernelError(
                    f"cannot open {path}: {errno_text(number)}", errno=number
                ) from error
            stack.callback(os.close, descriptor)
            _control(descriptor, _TUNSETIFF, _IFREQ.pack(b"", flags), f"open {path}")
            opened.append(descriptor)
        stack.pop_all()
        return opened


def _mark(tap: TapLink) -> Message:
    return set_link(
        tap.name,
        f"mark tap {tap.name}",
        alias=tap.alias,
        mac=tap.mac.packed if tap.mac is not None else None,
        mtu=tap.mtu,
    )


def _open() -> int:
    try:
        return os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise MissingFeature(
            f"cannot make a tap: there is no {_DEVICE}", hint="load the kernel module tun"
        ) from error
    except OSError as error:
        number = error.errno or 0
        raise KernelError(f"cannot open {_DEVICE}: {errno_text(number)}", errno=number) from error


def _attach(descriptor: int, tap: TapLink, *, exclusive: bool, offload: bool = True) -> None:
    """Make the tap, or without ``exclusive`` attach to the one of the name."""
    flags = _IFF_TAP | _IFF_NO_PI | (_IFF_VNET_HDR if offload else 0)
    if tap.queues > 1:
        flags |= _IFF_MULTI_QUEUE
    if exclusive:
        flags |= _IFF_TUN_EXCL
    request = _IFREQ.pack(tap.name.encode(), flags)
    _control(descriptor, _TUNSETIFF, request, f"{'create' if exclusive else 'open'} tap {tap.name}")


def _control(descriptor: int, request: int, argument: int | bytes, what: str) -> None:
    try:
        # fcntl takes a signed number; user ids go up to 2**32 - 2.
        if isinstance(argument, int) and argument >= 1 << 31:
            argument -= 1 << 32
        fcntl.ioctl(descriptor, request, argument)
    except OSError as error:
        number = error.errno or 0
        raise KernelError(f"cannot {what}: {errno_text(number)}", errno=number) from error
