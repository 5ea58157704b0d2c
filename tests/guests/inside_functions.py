"""SR-IOV in a guest: functions that ``inside.py`` runs there, for tests outside."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import fcntl
import mmap
import os
import select
import socket
import struct
import time
from pathlib import Path
from typing import Any

from jackfield.errors import JackfieldError
from jackfield.host.kernel import Kernel
from jackfield.host.sriov.count import FunctionCountDriver
from jackfield.host.sriov.pci import read_functions
from jackfield.host.sriov.settings import FunctionSettingDriver
from jackfield.model.uplink import PciAddress
from jackfield.model.values import InterfaceName
from jackfield.state.functions import FunctionAspect, FunctionCount, FunctionSetting

__all__ = ["ask_by_tap", "facts", "look", "make", "open_function", "set_aspect", "set_switch"]

# linux/if_tun.h
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
# E1000_DTXSWC and E1000_DTXSWC_VMDQ_LOOPBACK_EN of drivers/net/ethernet/intel/igb.
DTXSWC = 0x3500
LOOPBACK = 1 << 31
REGISTERS = 0x20000

# linux/vfio.h
VFIO_SET_IOMMU = 0x3B66
VFIO_GROUP_GET_STATUS = 0x3B67
VFIO_GROUP_SET_CONTAINER = 0x3B68
VFIO_GROUP_GET_DEVICE_FD = 0x3B6A
VFIO_DEVICE_GET_INFO = 0x3B6B
VFIO_TYPE1_IOMMU = 1


def facts() -> dict[str, list[dict[str, Any]]]:
    """Return the virtual functions of all cards."""
    return {
        link: [dataclasses.asdict(one) | {"address": str(one.address)} for one in functions]
        for link, functions in read_functions().items()
    }


def make(count: str, link: str = "eth0") -> str | None:
    """Have the driver make virtual functions; return its error, if there is one."""
    with contextlib.closing(Kernel.open(Path("/run/room"))) as kernel:
        wanted = FunctionCount(link=InterfaceName(link), value=count)
        try:
            FunctionCountDriver().ensure(kernel, [wanted], {})
        except JackfieldError as error:
            return f"{error.name}: {error.message}"
    return None


def set_aspect(address: str, aspect: str, value: str) -> str | None:
    """Have the driver set one aspect of a function; return its error, if there is one."""
    with contextlib.closing(Kernel.open(Path("/run/room"))) as kernel:
        try:
            FunctionSettingDriver().ensure(kernel, [_setting(address, aspect, value)], {})
        except JackfieldError as error:
            return f"{error.name}: {error.message}"
    return None


def look(address: str) -> dict[str, str | None]:
    """Return what the driver sees of a function, by aspect."""
    wanted = [_setting(address, aspect.value, "") for aspect in FunctionAspect]
    with contextlib.closing(Kernel.open(Path("/run/room"))) as kernel:
        found = FunctionSettingDriver().observe(kernel, wanted)
    return {item.aspect.value: getattr(found[item.key].resource, "value", None) for item in wanted}


def open_function(address: str, group: int) -> dict[str, int]:
    """Do what a virtual machine monitor does with a function: open it through VFIO."""
    with contextlib.ExitStack() as stack:

        def opened(path: str) -> int:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            return descriptor

        container, members = opened("/dev/vfio/vfio"), opened(f"/dev/vfio/{group}")
        status = fcntl.ioctl(members, VFIO_GROUP_GET_STATUS, struct.pack("=II", 8, 0))
        fcntl.ioctl(members, VFIO_GROUP_SET_CONTAINER, struct.pack("=i", container))
        fcntl.ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU)
        device = _ioctl(members, VFIO_GROUP_GET_DEVICE_FD, address.encode() + b"\0")
        stack.callback(os.close, device)
        told = fcntl.ioctl(device, VFIO_DEVICE_GET_INFO, struct.pack("=IIII", 16, 0, 0, 0))
        _, flags, regions, _ = struct.unpack("=IIII", told)
        return {
            "viable": struct.unpack("=II", status)[1] & 1,
            "pci": flags >> 1 & 1,
            "regions": regions,
        }


def _ioctl(descriptor: int, request: int, argument: bytes) -> int:
    """Return the number that a request answers with, which ``fcntl.ioctl`` keeps to itself."""
    libc = ctypes.CDLL(None, use_errno=True)
    answer: int = libc.ioctl(descriptor, ctypes.c_ulong(request), argument)
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


def _setting(address: str, aspect: str, value: str) -> FunctionSetting:
    return FunctionSetting(address=PciAddress(address), aspect=FunctionAspect(aspect), value=value)


def set_switch(address: str, on: bool) -> None:
    """Have a card's own switch forward among its functions, or send all that they send outside.

    With other cards `bridge link set … hwmode vepa` does the latter; the driver of this one leaves
    the switch on, and turns it on again when it makes functions.
    """
    path = Path("/sys/bus/pci/devices", address, "resource0")
    with path.open("r+b") as file, mmap.mmap(file.fileno(), REGISTERS) as registers:
        (value,) = struct.unpack_from("=I", registers, DTXSWC)
        value = value | LOOPBACK if on else value & ~LOOPBACK
        struct.pack_into("=I", registers, DTXSWC, value)


def ask_by_tap(tap: str, mac: str, source: str, target: str, seconds: float = 20) -> str | None:
    """Ask, as the guest on ``tap``, who has ``target``; return the address that answers it.

    Asks again every half a second, for ``seconds`` at most.
    """
    sender, asked = bytes.fromhex(mac.replace(":", "")), socket.inet_aton(target)
    question = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + sender + socket.inet_aton(source)
    frame = b"\xff" * 6 + sender + b"\x08\x06" + question + bytes(6) + asked
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", tap.encode(), IFF_TAP | IFF_NO_PI))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            os.write(device, frame)
            answer = _answer(device, sender, asked)
            if answer is not None:
                return answer.hex(":")
    finally:
        os.close(device)
    return None


def _answer(device: int, sender: bytes, asked: bytes) -> bytes | None:
    """Return who said within half a second that it has the address ``asked``."""
    end = time.monotonic() + 0.5
    while select.select([device], [], [], max(0, end - time.monotonic()))[0]:
        frame = os.read(device, 2048)
        if frame[:6] == sender and frame[12:14] == b"\x08\x06" and frame[28:32] == asked:
            return frame[22:28]
    return None
