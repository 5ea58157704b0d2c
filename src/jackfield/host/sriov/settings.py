"""What is set of virtual functions: through their physical function, and by their drivers."""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping, Sequence

from jackfield.errors import KernelError, MissingFeature, NotFound
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.function import (
    FunctionInfo,
    decode_functions,
    get_functions,
    set_mac,
    set_rate,
    set_spoof_check,
    set_trust,
    set_vlan,
)
from jackfield.host.netlink.link import set_link
from jackfield.host.netlink.message import Message
from jackfield.host.sriov import pci
from jackfield.model.uplink import PciAddress
from jackfield.model.values import MacAddress
from jackfield.state.functions import FunctionAspect, FunctionSetting

__all__ = ["FunctionSettingDriver"]

_ON, _OFF = "on", "off"
_NO_MAC = MacAddress("00:00:00:00:00:00")
_PROTOCOLS = {0x8100: "", 0x88A8: " 802.1ad"}
_UNKNOWN_TO_DRIVER = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})
# What drivers answer who cannot take an administered address back.
_NOT_TAKEN_BACK = frozenset({errno.EINVAL, errno.EADDRNOTAVAIL, errno.EOPNOTSUPP})


class FunctionSettingDriver:
    """Looks at and sets virtual functions; the ledger remembers what they were."""

    def observe(
        self,
        kernel: Kernel,
        resources: Sequence[FunctionSetting],
        claimed: Collection[str] = frozenset(),
    ) -> dict[str, Observed]:
        """Return each aspect as it is; absent where there is no such function, or not now."""
        looks: dict[str, dict[int, FunctionInfo]] = {}
        found = {}
        for setting in resources:
            value = _value(kernel, setting, looks)
            found[setting.key] = ABSENT
            if value is not None:
                present = FunctionSetting(
                    address=setting.address, aspect=setting.aspect, value=value
                )
                found[setting.key] = Observed(presence=Presence.OURS, resource=present)
        return found

    def ensure(
        self,
        kernel: Kernel,
        resources: Sequence[FunctionSetting],
        replaced: Mapping[str, FunctionSetting],
    ) -> None:
        """Set the aspects, one after the other, that are not so already."""
        for setting in resources:
            if _value(kernel, setting, {}) != setting.value:
                _set(kernel, setting)

    def remove(self, kernel: Kernel, resources: Sequence[FunctionSetting]) -> None:
        """Do nothing: values are put back by whoever knows what they were."""


def _value(
    kernel: Kernel, setting: FunctionSetting, looks: dict[str, dict[int, FunctionInfo]]
) -> str | None:
    """Return the present value; ``looks`` keeps what physical functions told already."""
    address, aspect = setting.address, setting.aspect
    place = pci.physical_of(address)
    if place is None:
        return None
    if aspect is FunctionAspect.DRIVER:
        return pci.driver_of(address)
    if aspect is FunctionAspect.OVERRIDE:
        return pci.override_of(address)
    if aspect is FunctionAspect.OWN_MAC:
        name = pci.interface_of(address)
        link = None if name is None else kernel.route.link(name)
        return None if link is None else link.mac_text
    if place.link not in looks:
        looks[place.link] = _look(kernel, place.link)
    info = looks[place.link].get(place.number)
    return None if info is None else _shown(info, aspect)


def _look(kernel: Kernel, link: str) -> dict[int, FunctionInfo]:
    if kernel.route.index(link) is None:
        return {}
    return decode_functions(kernel.route.request(get_functions(link))[0].body)


def _shown(info: FunctionInfo, aspect: FunctionAspect) -> str:
    if aspect is FunctionAspect.MAC:
        return info.mac.hex(":")
    if aspect is FunctionAspect.VLAN:
        protocol = _PROTOCOLS.get(info.vlan_protocol, f" {info.vlan_protocol:#x}")
        return f"{info.vlan} {info.priority}{protocol}"
    if aspect is FunctionAspect.RATE:
        return f"{info.least_rate} {info.most_rate}"
    switch = info.spoof_check if aspect is FunctionAspect.SPOOF_CHECK else info.trust
    return "" if switch is None else _ON if switch else _OFF


def _set(kernel: Kernel, setting: FunctionSetting) -> None:
    address, aspect, value = setting.address, setting.aspect, setting.value
    if aspect is FunctionAspect.OVERRIDE:
        pci.refuse_open(address)
        pci.set_override(address, value)
    elif aspect is FunctionAspect.DRIVER:
        pci.refuse_open(address)
        pci.bind_driver(address, value)
    elif aspect is FunctionAspect.OWN_MAC:
        _set_own_mac(kernel, address, MacAddress(value))
    elif value:
        _administer(kernel, setting)


def _set_own_mac(kernel: Kernel, address: PciAddress, mac: MacAddress) -> None:
    name = pci.interface_of(address)
    what = f"give {name or address} the address {mac}"
    if name is None:
        raise NotFound(f"cannot {what}: the function has no interface here")
    kernel.route.send([set_link(kernel.route.require_index(name, what), what, mac=mac.packed)])


def _administer(kernel: Kernel, setting: FunctionSetting) -> None:
    """Set what is set through the physical function."""
    address, aspect = setting.address, setting.aspect
    place = pci.physical_of(address)
    what = f"set the {aspect.value} of virtual function {address} to {setting.value}"
    if place is None:
        raise NotFound(f"cannot {what}: there is no such function on this host")
    what += f" through {place.link}"
    index = kernel.route.require_index(place.link, what)
    try:
        kernel.route.send([_request(index, place.number, setting, what)])
    except KernelError as error:
        if aspect is FunctionAspect.MAC and setting.value == _NO_MAC:
            if error.errno in _NOT_TAKEN_BACK:
                # Whoever uses the function next sets its own.
                return
        elif error.errno in _UNKNOWN_TO_DRIVER:
            if setting.optional:
                return
            raise MissingFeature(
                f"cannot {what}: its driver cannot do that",
                hint="take it out of the network's document, or use another card",
            ) from error
        raise
    if aspect is FunctionAspect.MAC:
        _have_learned(kernel, address)


def _request(index: int, number: int, setting: FunctionSetting, what: str) -> Message:
    aspect, value = setting.aspect, setting.value
    if aspect is FunctionAspect.MAC:
        return set_mac(index, number, MacAddress(value).packed, what)
    if aspect is FunctionAspect.VLAN:
        vlan, priority, *protocol = value.split()
        known = {shown.strip(): number for number, shown in _PROTOCOLS.items()}
        kind = known[protocol[0] if protocol else ""]
        return set_vlan(index, number, int(vlan), int(priority), what, protocol=kind)
    if aspect is FunctionAspect.RATE:
        least, most = value.split()
        return set_rate(index, number, int(least), int(most), what)
    if aspect is FunctionAspect.TRUST:
        return set_trust(index, number, value == _ON, what)
    return set_spoof_check(index, number, value == _ON, what)


def _have_learned(kernel: Kernel, address: PciAddress) -> None:
    """Have the driver of a function learn its new address: it reads it when it is bound.

    Until then the card drops what the function sends.  Its interface is a new one after that,
    and gets the former's name and state.
    """
    name = pci.interface_of(address)
    former = None if name is None else kernel.route.link(name)
    if name is None or former is None:
        return
    pci.rebind(address)
    fresh = pci.interface_of(address)
    what = f"have {name} learn its address"
    if fresh is None:
        raise NotFound(f"cannot {what}: its driver made no interface")
    index = kernel.route.require_index(fresh, what)
    if fresh != name:
        kernel.route.send([set_link(index, what, name=name)])
    kernel.route.send([set_link(index, what, up=former.up or None, mtu=former.mtu)])
