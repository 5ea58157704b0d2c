"""PCI functions in sysfs (Documentation/ABI/testing/sysfs-bus-pci): what they are, their drivers.

Interfaces are those that the daemon's own mount of sysfs shows; whoever acts on a name asks
netlink first whether there is such a link here.  ``sriov_numvfs`` is never read, because reading
it waits for functions that are just being made.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jackfield.errors import HostError, KernelError, MissingFeature, NotFound, WrongState, counted
from jackfield.host.netlink.message import errno_text
from jackfield.model.uplink import PciAddress
from jackfield.model.values import InterfaceName
from jackfield.state.facts import VirtualFunctionFact

__all__ = [
    "DEVICES",
    "Physical",
    "bind_driver",
    "driver_of",
    "interface_of",
    "is_function",
    "override_of",
    "physical_of",
    "read_functions",
    "read_total",
    "rebind",
    "refuse_open",
    "set_count",
    "set_override",
    "virtual_functions",
]

DEVICES = Path("/sys/bus/pci/devices")
_LINKS = Path("/sys/class/net")
_DRIVERS = Path("/sys/bus/pci/drivers")
_PROBE = Path("/sys/bus/pci/drivers_probe")
_NO_OVERRIDE = "(null)"
_VIRTUAL = re.compile(r"virtfn(\d+)")


class Physical(NamedTuple):
    """The physical function of a virtual one: its link, and the virtual one's number there."""

    link: InterfaceName
    number: int


def read_functions(devices: Path = DEVICES) -> dict[str, tuple[VirtualFunctionFact, ...]]:
    """Return the virtual functions of every physical one, by the name of the latter's link."""
    found: dict[str, tuple[VirtualFunctionFact, ...]] = {}
    for folder in _listed(devices):
        if (devices / folder / "sriov_totalvfs").exists():
            names = _interfaces(devices / folder)
            if names:
                functions = tuple(_facts(devices / folder, devices))
                found.update(dict.fromkeys(names, functions))
    return found


def virtual_functions(link: InterfaceName, devices: Path = DEVICES) -> tuple[PciAddress, ...]:
    """Return the addresses of the virtual functions of ``link``, by their numbers."""
    folder = _folder_of_link(link, devices)
    return tuple(address for _, address in _virtual(folder)) if folder else ()


def read_total(link: InterfaceName, devices: Path = DEVICES) -> int | None:
    """Return how many virtual functions ``link`` can have; ``None`` if it is no such card."""
    folder = _folder_of_link(link, devices)
    text = None if folder is None else _read(folder / "sriov_totalvfs")
    return None if text is None else int(text)


def set_count(link: InterfaceName, count: int) -> None:
    """Make ``count`` virtual functions of ``link``, or 0; between two other numbers lies 0."""
    folder = _folder_of_link(link, DEVICES)
    if folder is None:
        raise NotFound(f"{link} is not a PCI device of this host, so it has no virtual functions")
    what = f"make {counted(count, 'virtual function')} of {link}"
    _write(folder / "sriov_numvfs", str(count), what)


def physical_of(address: PciAddress, devices: Path = DEVICES) -> Physical | None:
    """Return the physical function of a virtual one, ``None`` for what is none, or not here."""
    folder = devices / str(address) / "physfn"
    names = _interfaces(folder)
    for number, other in _virtual(folder):
        if other == address and names:
            return Physical(names[0], number)
    return None


def is_function(link: str, links: Path = _LINKS) -> bool:
    """Return whether the interface ``link`` is a virtual function's."""
    return (links / link / "device/physfn").exists()


def interface_of(address: PciAddress, devices: Path = DEVICES) -> InterfaceName | None:
    """Return the interface of a function, ``None`` while it has none here."""
    names = _interfaces(devices / str(address))
    return names[0] if names else None


def driver_of(address: PciAddress, devices: Path = DEVICES) -> str:
    """Return the driver that a function is bound to; empty when there is none."""
    try:
        return (devices / str(address) / "driver").readlink().name
    except OSError:
        return ""


def override_of(address: PciAddress, devices: Path = DEVICES) -> str:
    """Return the only driver that the kernel may bind a function to; empty for any that fits."""
    text = _read(devices / str(address) / "driver_override") or _NO_OVERRIDE
    return "" if text == _NO_OVERRIDE else text


def set_override(address: PciAddress, driver: str) -> None:
    """Say which driver alone the kernel may bind a function to; empty for any that fits."""
    if driver and not (_DRIVERS / driver).is_dir():
        raise MissingFeature(
            f"cannot give {address} to {driver}: there is no such driver",
            hint=f"modprobe {driver}",
        )
    # An empty line takes it back.
    text = f"{driver}\n"
    _write(DEVICES / str(address) / "driver_override", text, f"choose a driver for {address}")


def refuse_open(address: PciAddress) -> None:
    """Raise ``WrongState`` while a process has a function open through VFIO.

    The kernel would wait until it lets go of it.  A group can be opened only once.
    """
    try:
        group = (DEVICES / str(address) / "iommu_group").readlink().name
        os.close(os.open(f"/dev/vfio/{group}", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise WrongState(
                f"the virtual function {address} is in use: a process has it open through VFIO",
                hint="end the virtual machine first",
            ) from error


def bind_driver(address: PciAddress, driver: str) -> None:
    """Have a function bound to ``driver``, or to none; it is taken from another one first."""
    present = driver_of(address)
    if present == driver:
        return
    if present:
        what = f"take {address} from its driver {present}"
        _write(DEVICES / str(address) / "driver/unbind", str(address), what)
    if driver:
        what = f"bind {address} to {driver}"
        _write(_PROBE, str(address), what)
        if driver_of(address) != driver:
            # Another one fits as well, and came first.
            other = driver_of(address)
            if other:
                _write(DEVICES / str(address) / "driver/unbind", str(address), what)
            _write(_DRIVERS / driver / "bind", str(address), what)
        if driver_of(address) != driver:
            raise HostError(
                f"cannot {what}: the driver does not take it",
                hint="vfio-pci wants an IOMMU: intel_iommu=on or amd_iommu=on at boot",
            )


def rebind(address: PciAddress) -> None:
    """Take a function from its driver and give it back, so that it learns what was set."""
    driver = driver_of(address)
    bind_driver(address, "")
    bind_driver(address, driver)


def _facts(folder: Path, devices: Path) -> Iterator[VirtualFunctionFact]:
    for _, address in _virtual(folder):
        yield VirtualFunctionFact(
            address=address,
            dev=interface_of(address, devices),
            driver=driver_of(address, devices) or None,
        )


def _virtual(folder: Path) -> list[tuple[int, PciAddress]]:
    """Return number and address of the virtual functions of a physical one, in order."""
    found = []
    for name in _listed(folder):
        match = _VIRTUAL.fullmatch(name)
        if match is not None:
            with contextlib.suppress(OSError, ValueError):
                target = (folder / name).readlink().name
                found.append((int(match[1]), PciAddress(target)))
    return sorted(found)


def _folder_of_link(link: InterfaceName, devices: Path) -> Path | None:
    for folder in _listed(devices):
        if (devices / folder / "sriov_totalvfs").exists() and link in _interfaces(devices / folder):
            return devices / folder
    return None


def _interfaces(folder: Path) -> list[InterfaceName]:
    names = []
    for name in _listed(folder / "net"):
        with contextlib.suppress(ValueError):
            names.append(InterfaceName(name))
    return names


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return []


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _write(path: Path, text: str, what: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        raise NotFound(f"cannot {what}: there is no {path}") from error
    except OSError as error:
        number = error.errno or 0
        read_only = number in (errno.EROFS, errno.EACCES, errno.EPERM)
        raise KernelError(
            f"cannot {what}: {errno_text(number)}",
            errno=number,
            hint="is /sys mounted read-only?" if read_only else None,
        ) from error
