"""``jackfield run``: a virtual machine monitor with its NICs plugged in.

The ports are kept by this very process, which becomes the monitor: whatever ends it, the daemon
sees it and frees them.
"""

from __future__ import annotations

import os
import re

from jackfield.client import quote
from jackfield.errors import NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from jackfield.cli.command import Arguments, Context

__all__ = ["run"]

_KEYS = ("network", "portgroup", "mac", "model", "queues", "type")
_PLACEHOLDER = re.compile(r"\{nic(\d+)\.([a-z]+)\}")
_QEMU = re.compile(r"qemu-system-.+|qemu-kvm|kvm")
_VHOST = "/dev/vhost-net"
_VIRTIO = "virtio-net-pci"


class _Nic:
    """One NIC, plugged in: ``values`` are what placeholders stand for."""

    def __init__(self, number: int, wish: dict[str, str], port: dict[str, Any]) -> None:
        self.number = number
        self.model = wish.get("model", _VIRTIO)
        if self.model == "virtio":
            self.model = _VIRTIO
        self.descriptors: list[int] = []
        self.values = {"mac": str(port["mac"])}
        if port["device"]:
            self.values["device"] = str(port["device"])
        if port["plug"]["kind"] == "vde":
            self.values["socket"] = str(port["plug"]["path"])
        if port["plug"]["kind"] == "hostdev-pci":
            self.values["address"] = str(port["plug"]["address"])

    def open(self, context: Context, port: str) -> None:
        """Get the open device, which the monitor inherits."""
        self.descriptors = context.client.open_port(port)
        for descriptor in self.descriptors:
            os.set_inheritable(descriptor, True)
        words = [str(descriptor) for descriptor in self.descriptors]
        self.values["fd"] = words[0]
        self.values["fds"] = ":".join(words)

    def for_qemu(self) -> list[str]:
        """Return the arguments that give QEMU this NIC."""
        if "address" in self.values:
            return ["-device", f"vfio-pci,host={self.values['address']}"]
        several = len(self.descriptors) > 1
        name = f"jackfield{self.number}"
        device = f"{self.model},netdev={name},mac={self.values['mac']}"
        if "socket" in self.values:
            return ["-netdev", f"vde,id={name},sock={self.values['socket']}", "-device", device]
        opened = f"fds={self.values['fds']}" if several else f"fd={self.values['fd']}"
        netdev = f"tap,id={name},{opened}"
        if self.model == _VIRTIO and os.access(_VHOST, os.R_OK | os.W_OK):
            netdev += ",vhost=on"
        if several:
            # A vector for each queue in each direction, for configuration and for control.
            device += f",mq=on,vectors={2 * len(self.descriptors) + 2}"
        return ["-netdev", netdev, "-device", device]


def run(context: Context, arguments: Arguments) -> None:
    """Plug the NICs in and become the command."""
    if not arguments.nic:
        raise UsageError("run: say which network: --nic network=NAME")
    wishes = [_read(text) for text in arguments.nic]
    command: list[str] = arguments.command
    _check_placeholders(command, wishes)
    filled = any(_PLACEHOLDER.search(word) for word in command)
    if not filled and not _QEMU.fullmatch(os.path.basename(command[0])):  # noqa: PTH119
        raise UsageError(
            f"run: {command[0]} is not QEMU, and its arguments do not say where its NICs go",
            hint="use {nic0.fd}, {nic0.mac} and their like; see: jackfield run --help",
        )
    name = arguments.name or os.path.basename(command[0])  # noqa: PTH119
    whose = {"name": name, "guest": arguments.guest}
    nics = [_plug_in(context, number, wish, whose) for number, wish in enumerate(wishes)]
    if filled:
        command = [_PLACEHOLDER.sub(lambda match: _value(nics, match), word) for word in command]
    else:
        command = [*command, *(word for nic in nics for word in nic.for_qemu())]
    _become(command)


def _read(text: str) -> dict[str, str]:
    """Return the wish that ``--nic`` says: ``network=red,portgroup=gold``."""
    wish: dict[str, str] = {}
    for word in text.split(","):
        key, equals, value = word.partition("=")
        if not equals or key not in _KEYS or not value:
            raise UsageError(
                f"run: {word!r} in --nic {text} is not understood",
                hint=f"--nic takes {', '.join(f'{one}=…' for one in _KEYS)}",
            )
        wish[key] = value
    if "network" not in wish:
        raise UsageError(f"run: --nic {text} names no network", hint="--nic network=NAME")
    if wish.get("type", "vde") != "vde":
        raise UsageError(
            f"run: type={wish['type']} in --nic {text} is not known",
            hint="type=vde plugs into the network's VDE switch; without it there is a tap",
        )
    queues = wish.get("queues", "1")
    if not (queues.isascii() and queues.isdigit()):
        raise UsageError(f"run: queues={queues} in --nic {text} is not a number")
    return wish


def _plug_in(
    context: Context, number: int, wish: dict[str, str], whose: dict[str, str | None]
) -> _Nic:
    vde = wish.get("type") == "vde"
    asked: dict[str, object] = {
        "vde" if vde else "handover": True,
        "hold": True,
        **whose,
        "queues": int(wish["queues"]) if "queues" in wish else None,
        "mac": wish.get("mac"),
        "portgroup": wish.get("portgroup"),
    }
    body = {key: value for key, value in asked.items() if value is not None}
    path = f"/v1/networks/{quote(wish['network'])}/ports"
    port = context.client.request("POST", path, body)
    nic = _Nic(number, wish, port)
    if not vde and "address" not in nic.values:
        # A PCI function is no descriptor: the monitor opens it by its address.
        nic.open(context, port["uuid"])
    return nic


def _check_placeholders(command: Sequence[str], wishes: Sequence[dict[str, str]]) -> None:
    """Refuse placeholders that stand for nothing, before anything is plugged in."""
    for word in command:
        for match in _PLACEHOLDER.finditer(word):
            number, key = int(match[1]), match[2]
            if number >= len(wishes):
                raise UsageError(f"run: {match[0]}: there is no --nic with number {number}")
            vde = wishes[number].get("type") == "vde"
            known = ("socket", "mac") if vde else ("fd", "fds", "mac", "device", "address")
            if key not in known:
                raise UsageError(
                    f"run: {match[0]}: there is no {key!r}", hint=f"use {', '.join(known)}"
                )


def _value(nics: Sequence[_Nic], match: re.Match[str]) -> str:
    values = nics[int(match[1])].values
    if match[2] not in values:
        raise UsageError(
            f"run: {match[0]}: this NIC has no {match[2]}",
            hint=f"it has {', '.join(values)}; a PCI function has an address instead of a "
            "descriptor",
        )
    return values[match[2]]


def _become(command: Sequence[str]) -> NoReturn:
    try:
        os.execvp(command[0], list(command))
    except OSError as error:
        raise NotFound(
            f"cannot run {command[0]}: {error.strerror}", hint="its ports are freed again"
        ) from error
