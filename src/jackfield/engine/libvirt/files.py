"""A libvirt installation's files about networks: read, and written back.

They are::

    /etc/libvirt/qemu/networks/NAME.xml               a definition
    /etc/libvirt/qemu/networks/autostart/NAME.xml     a link to it: started with the host
    /run/libvirt/network/NAME.xml                     <networkstatus> of a running network
    /run/libvirt/network/NAME.pid                     its dnsmasq's pid
    /run/libvirt/network/NAME/ports/UUID.xml          a <networkport>
    /var/lib/libvirt/dnsmasq/NAME.conf                its dnsmasq's configuration
    /var/lib/libvirt/dnsmasq/BRIDGE.status            its leases, JSON
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from jackfield.document.libvirt import write_network
from jackfield.document.port import read_port
from jackfield.document.reader import read_network, read_network_element
from jackfield.document.xml import Element, parse
from jackfield.engine.views import LeaseView
from jackfield.errors import DocumentError, HostError
from jackfield.model.network import Network
from jackfield.model.port import Port
from jackfield.model.values import MacAddress

__all__ = [
    "Found",
    "Places",
    "leases_from_status",
    "read_installation",
    "read_status",
    "status_from_leases",
    "write_definition",
    "writing_files",
]

_NUMBER = re.compile(r"[0-9]{1,12}", re.ASCII)
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){0,254}", re.ASCII)
# What a line of dnsmasq's file has room for.
_WORDS = {
    "expiry-time": _NUMBER,
    "hostname": re.compile(r"\S{1,255}"),
    "client-id": re.compile(rf"\*|{_HEXADECIMAL.pattern}", re.ASCII),
}

_HEADER = """\
<!--
Written by jackfield export. Changes should be made using:
  virsh net-edit {name}
or another application using the libvirt API.
-->

"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where libvirt keeps what; ``sockets`` are where a daemon with networks may answer."""

    definitions: Path = Path("/etc/libvirt/qemu/networks")
    running: Path = Path("/run/libvirt/network")
    services: Path = Path("/var/lib/libvirt/dnsmasq")
    sockets: tuple[Path, ...] = (
        Path("/run/libvirt/virtnetworkd-sock"),
        Path("/run/libvirt/libvirt-sock"),
    )

    def definition(self, name: str) -> Path:
        """Return the file of a definition."""
        return self.definitions / f"{name}.xml"

    def autostart(self, name: str) -> Path:
        """Return the link that marks a definition."""
        return self.definitions / "autostart" / f"{name}.xml"

    def leases(self, bridge: str) -> Path:
        """Return the file of a network's leases."""
        return self.services / f"{bridge}.status"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One network of libvirt's: ``stored`` is its definition, ``live`` what runs, if it does.

    ``rules`` are the arguments of iptables (4) and ip6tables (6) that remove its rules; ``None``
    when its status does not tell them.  ``problem`` says why it cannot be read, ``unread`` why
    ports of it cannot.
    """

    name: str
    stored: Network | None = None
    autostart: bool = False
    live: Network | None = None
    ports: tuple[Port, ...] = ()
    unread: tuple[str, ...] = ()
    rules: tuple[tuple[int, tuple[str, ...]], ...] | None = None
    problem: str | None = None

    @property
    def uuid(self) -> UUID | None:
        """The network's uuid."""
        network = self.stored or self.live
        return None if network is None else network.uuid

    @property
    def bridge(self) -> str | None:
        """The name of the network's bridge, if it has one."""
        network = self.live or self.stored
        if network is None or network.bridge is None:
            return None
        return network.bridge.name


def read_installation(places: Places) -> list[Found]:
    """Return libvirt's networks by name; one that cannot be read says why."""
    names = {path.stem for path in places.definitions.glob("*.xml")}
    names |= {path.stem for path in places.running.glob("*.xml")}
    return [_read(places, name) for name in sorted(names)]


def _read(places: Places, name: str) -> Found:
    found = Found(name=name, autostart=_is_marked(places, name))
    path = places.definition(name)
    try:
        if path.is_file():
            found = dataclasses.replace(found, stored=_same_name(read_network(_text(path)), name))
        path = places.running / f"{name}.xml"
        if path.is_file():
            root = parse(_text(path))
            element = root.find("network")
            if root.tag != "networkstatus" or element is None:
                raise DocumentError("it is not the <networkstatus> of a network")
            live = _same_name(read_network_element(element, _text(path)), name)
            if live.uuid is None:
                raise DocumentError("it has no <uuid>, which libvirt always writes")
            found = dataclasses.replace(found, live=live, rules=_rules(root.find("firewall")))
            if found.stored is not None and found.stored.uuid is None:
                # A file that somebody wrote while the network ran.
                stored = msgspec.structs.replace(found.stored, uuid=live.uuid)
                found = dataclasses.replace(found, stored=stored)
            found = _with_ports(found, places.running / name / "ports")
    except (OSError, DocumentError) as error:
        return Found(name=name, problem=f"{path}: {error}")
    return found


def _with_ports(found: Found, folder: Path) -> Found:
    ports, unread = [], []
    for path in sorted(folder.glob("*.xml")):
        try:
            ports.append(read_port(_text(path)))
        except (OSError, DocumentError) as error:
            unread.append(f"{path}: {error}")
    return dataclasses.replace(found, ports=tuple(ports), unread=tuple(unread))


def _is_marked(places: Places, name: str) -> bool:
    """Whether the mark leads to the definition; another link is none to libvirt either."""
    try:
        return places.autostart(name).samefile(places.definition(name))
    except OSError:
        return False


def _text(path: Path) -> bytes:
    return path.read_bytes()


def _same_name(network: Network, name: str) -> Network:
    if network.name != name:
        raise DocumentError(f"it is about a network {network.name!r}")
    return network


def _rules(firewall: Element | None) -> tuple[tuple[int, tuple[str, ...]], ...] | None:
    """Return what removes a network's rules, where that is the removal of single rules."""
    if firewall is None or firewall.get("backend") != "iptables":
        return None
    found = []
    for action in firewall.iter("action"):
        version = {"ipv4": 4, "ipv6": 6}.get(action.get("layer", ""))
        args = tuple(item.text or "" for item in action.iter("item"))
        if version is None or not _removes_a_rule(args):
            return None
        found.append((version, args))
    return tuple(found)


def _removes_a_rule(args: tuple[str, ...]) -> bool:
    """Return whether the arguments delete one rule from a chain of libvirt's, and no more."""
    return (
        len(args) > 4
        and args[0] == "--table"
        and args[1] in {"filter", "nat", "mangle"}
        and args[2] == "--delete"
        and args[3].startswith("LIBVIRT_")
    )


def read_status(path: Path) -> list[dict[str, Any]]:
    """Return the leases in one of libvirt's files; none where there is none, or nothing in it."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        entries = json.loads(text) if text.strip() else []
    except (FileNotFoundError, ValueError):
        return []
    if not isinstance(entries, list):
        return []
    return [entry for entry in entries if isinstance(entry, dict) and "ip-address" in entry]


def leases_from_status(entries: Iterable[Mapping[str, Any]]) -> str:
    """Return libvirt's leases as dnsmasq's lease file has them.

    What is no lease is left out: dnsmasq believes this file, and one wrong line can end it.
    """
    lines: dict[str, str] = {}
    six: set[str] = set()
    server = None
    for entry in entries:
        fields = {name: str(value) for name, value in entry.items()}
        try:
            address = ipaddress.ip_address(fields["ip-address"])
            owner = fields["iaid"] if "iaid" in fields else MacAddress(fields["mac-address"])
        except (KeyError, ValueError):
            continue
        is_six = address.version == 6
        words = {
            "expiry-time": fields.get("expiry-time", "0"),
            "hostname": fields.get("hostname", "*"),
            "client-id": fields.get("client-id", "*"),
        }
        if is_six != ("iaid" in fields) or (is_six and not _NUMBER.fullmatch(owner)):
            continue
        if not all(_WORDS[name].fullmatch(word) for name, word in words.items()):
            continue
        if is_six and _HEXADECIMAL.fullmatch(fields.get("server-duid", "")):
            server = fields["server-duid"]
        # Of two for one address the last is the newer.
        lines[str(address)] = " ".join(
            (words["expiry-time"], owner, str(address), words["hostname"], words["client-id"])
        )
        if is_six:
            six.add(str(address))
    found = [line for address, line in lines.items() if address not in six]
    if six and server is not None:
        found += [f"duid {server}", *(lines[address] for address in lines if address in six)]
    return "".join(f"{line}\n" for line in found)


def status_from_leases(text: str, leases: Iterable[LeaseView]) -> str:
    """Return ``leases``, those of dnsmasq's lease file ``text``, as libvirt keeps them.

    Empty for none.  libvirt cannot list a network that has a lease without a MAC address, so
    IPv6 leases of clients whose DUID does not tell theirs are left out.
    """
    servers = [line.split(" ")[1] for line in text.splitlines() if line.startswith("duid ")]
    entries: list[dict[str, object]] = []
    for lease in leases:
        if lease.mac is None:
            continue
        entry: dict[str, object] = {"ip-address": str(lease.address), "mac-address": lease.mac}
        if lease.iaid is not None:
            entry["iaid"] = lease.iaid
            if servers:
                entry["server-duid"] = servers[0]
        if lease.hostname is not None:
            entry["hostname"] = lease.hostname
        if lease.client_id is not None:
            entry["client-id"] = lease.client_id
        entries.append({**entry, "expiry-time": lease.expires})
    return json.dumps(entries, indent=2) + "\n" if entries else ""


@contextlib.contextmanager
def writing_files() -> Iterator[None]:
    """Raise ``HostError`` for what a file system refuses, which may be full or read-only."""
    try:
        yield
    except OSError as error:
        where = error.filename or "all of a file"
        raise HostError(f"cannot write {where}: {error.strerror}") from error


@writing_files()
def write_definition(places: Places, network: Network, *, autostart: bool) -> None:
    """Write a definition and its autostart mark as libvirt does."""
    path, mark = places.definition(network.name), places.autostart(network.name)
    mark.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".xml.new")
    temporary.touch(mode=0o600)
    header = _HEADER.format(name=network.name.replace("--", "- -"))
    temporary.write_text(header + write_network(network, inactive=True), encoding="utf-8")
    temporary.rename(path)
    mark.unlink(missing_ok=True)
    if autostart:
        mark.symlink_to(path)
