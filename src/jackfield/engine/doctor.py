"""Why guests have no network: what is looked at, and who judges it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from uuid import UUID

from jackfield.diagnosis.advice import Blame
from jackfield.diagnosis.circumstances import (
    Circumstances,
    find_obstacles,
    member_of,
    port_on,
    sysctls_of,
    ways_of,
)
from jackfield.diagnosis.finding import Examination, Finding, Likelihood
from jackfield.diagnosis.firewall import find_blames, tell_blame
from jackfield.diagnosis.judge import Place
from jackfield.diagnosis.need import bridged_samples, host_samples, routed_samples
from jackfield.diagnosis.packet import Device, Sample
from jackfield.engine.foresight import Foresight
from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.leases.book import LeaseBook
from jackfield.engine.records import NetworkRecord, PortRecord, bridges_of
from jackfield.engine.registry import Registry
from jackfield.errors import JackfieldError, shell_word
from jackfield.host.dnsmasq.diagnosis import is_bound
from jackfield.host.firewall import read_ruleset
from jackfield.host.managers import find_managers
from jackfield.host.nft.listing import has_nft, list_rules
from jackfield.host.ownership import is_marked
from jackfield.host.resolver import read_resolvers
from jackfield.host.settings import count_neighbours, read_setting
from jackfield.model.address import Address
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.plan.dnsmasq import served_ports
from jackfield.state.facts import Facts
from jackfield.state.services import Dnsmasq

__all__ = ["Doctor"]

_BRIDGED: dict[int, str] = {
    4: "net/bridge/bridge-nf-call-iptables",
    6: "net/bridge/bridge-nf-call-ip6tables",
}
_DNS = 53


@dataclasses.dataclass(frozen=True, slots=True)
class _Seen:
    """What is known of a network before files and programs are asked."""

    circumstances: Circumstances
    service: Dnsmasq | None
    links: Mapping[str, int]
    """The network's own links, those of its ports among them: names to indexes."""


class Doctor:
    """Examines networks; changes nothing."""

    def __init__(
        self, registry: Registry, foresight: Foresight, leases: LeaseBook, host: HostWatch
    ) -> None:
        """Look at the networks of ``registry``, and at the host through the others."""
        self._registry = registry
        self._foresight = foresight
        self._leases = leases
        self._host = host

    async def examine(self, refs: Collection[str | UUID] = ()) -> Examination:
        """Return what is wrong with the networks named, or with all that run."""
        if refs:
            records = [self._registry.network(ref) for ref in refs]
        else:
            networks = self._registry.networks.values()
            records = [item for item in networks if item.active or _should_run(item)]
        records = sorted(dict.fromkeys(records), key=lambda item: item.name)
        running = [item for item in records if item.active]
        findings = [_idle(item) for item in records if not item.active]
        notes: list[str] = []
        if running:
            await self._host.settle()
            looks = [await self._look(record) for record in running]
            seen = [look for look in looks if look is not None]
            # A ruleset may be long, and programs are asked.
            told, notes = await asyncio.to_thread(_judge, seen)
            findings += told
        return Examination(
            networks=tuple(record.name for record in records),
            findings=tuple(sorted(findings, key=lambda item: item.likelihood)),
            notes=tuple(notes),
        )

    async def _look(self, record: NetworkRecord) -> _Seen | None:
        """Return what is known of a network and its host; ``None`` if it has stopped meanwhile."""
        network = record.live
        if network is None:
            return None
        problem, steps = record.problem, []
        pending = record.stored is not None and record.stored != network
        try:
            other = network if pending else None
            steps = [
                step.text
                for step in await self._foresight.difference(str(record.uuid), other)
                # What a port keeps no apply changes.
                if step.action != "keep"
            ]
        except JackfieldError as error:
            problem = problem or str(error)
        if not steps:
            problem = problem or self._registry.lost_devices(record)
        leases = await self._leases.read(record)
        facts = self._host.facts(network)
        service = next(
            (item for item in record.present.values() if isinstance(item, Dnsmasq)), None
        )
        return _Seen(
            Circumstances(
                network=network,
                facts=facts,
                sysctls={},
                problem=problem,
                steps=tuple(steps),
                pending=pending,
                leased=[lease.address for lease in leases],
            ),
            service,
            _links(record, self._registry.ports_of(record.uuid), facts),
        )


def _links(record: NetworkRecord, ports: Iterable[PortRecord], facts: Facts) -> dict[str, int]:
    names: set[str] = {port.device.name for port in ports if port.device is not None}
    if record.live is not None:
        names |= bridges_of(record.live)
    links = [facts.links[name] for name in names if name in facts.links]
    return {link.name: link.index for link in links if is_marked(link.alias)}


def _should_run(record: NetworkRecord) -> bool:
    return record.autostart and record.problem is not None


def _idle(record: NetworkRecord) -> Finding:
    reason = "" if record.problem is None else f": {record.problem}"
    return Finding(
        network=record.name,
        likelihood=Likelihood.FAULT,
        text=f"this network does not run{reason}",
        hint=f"jackfield start {shell_word(record.name)}",
    )


def _judge(seen: Sequence[_Seen]) -> tuple[list[Finding], list[str]]:
    """Return what is wrong with networks, and notes on what could not be seen."""
    ruleset = read_ruleset()
    servers = bool(read_resolvers())
    findings: list[Finding] = []
    blamed: list[tuple[str, Blame]] = []
    for item in seen:
        known = _with_files(item, servers=servers)
        name = known.network.name
        findings += find_obstacles(known)
        for bridge, samples in _samples(known, item.service):
            blamed += [(name, blame) for blame in find_blames(ruleset, bridge, samples)]
    text_of, notes = _writer(blame for _, blame in blamed)
    findings += [tell_blame(name, blame, text_of) for name, blame in blamed]
    return findings, [*ruleset.unseen, *notes]


def _with_files(seen: _Seen, *, servers: bool) -> Circumstances:
    """Return what is known, with what has to be read from files."""
    known = seen.circumstances
    service = seen.service
    names = sysctls_of(known.network, known.facts)
    resolves, unbound = True, []
    if service is not None and service.follow_resolver:
        resolves = servers or bool(service.servers)
    # An option of the administrator's may have it answer elsewhere.
    own = bool(known.network.dnsmasq_options)
    if service is not None and _serves_dns(known.network) and not own:
        addresses = [item.interface.ip for item in known.network.subnets if item.interface]
        unbound = [item for item in addresses if not is_bound(_DNS, str(item))]
    return dataclasses.replace(
        known,
        sysctls={name: _setting(name) for name in names},
        managers=find_managers(seen.links),
        neighbours=count_neighbours(),
        resolves=resolves,
        unbound=tuple(unbound),
    )


def _setting(name: str) -> str | None:
    """Return a sysctl; of a link with such a name as no other has, nothing is known."""
    try:
        return read_setting(name)
    except JackfieldError:
        return None


def _serves_dns(network: Network) -> bool:
    return ("udp", _DNS) in served_ports(network)


def _samples(known: Circumstances, service: Dnsmasq | None) -> Iterator[tuple[str, list[Sample]]]:
    """Yield what each bridge of a network needs to pass."""
    network = known.network
    samples: list[Sample] = []
    guests: dict[int, Address] = {}
    for way, subnet in ways_of(known):
        version = way.local.version
        dhcp = service is not None and subnet.dhcp is not None
        samples += host_samples(
            way,
            dhcp=dhcp and bool(subnet.dhcp and (subnet.dhcp.ranges or subnet.dhcp.hosts)),
            dns=service is not None and _serves_dns(network),
            advertises=service is not None and version == 6,
        )
        # Without a way out there is nothing that could be dropped on it.
        if network.mode is not Mode.ISOLATED and way.uplink.name and version not in guests:
            samples += routed_samples(way)
        guests.setdefault(version, way.guest)
    for name in sorted(bridges_of(network)):
        link = known.facts.links.get(name)
        if link is None or link.kind != "bridge":
            continue
        across: list[Sample] = []
        port = port_on(network, known.facts, name)
        for family, setting in _BRIDGED.items():
            routed = known.sysctls.get(setting) == "1"
            device = Device(link.name, link.index)
            if not network.mode.is_routed:
                guest, back = member_of(known.facts, name, family)
                across += bridged_samples(
                    device, family, guest, port=port, routed=routed, back=back
                )
            elif family in guests:
                across += bridged_samples(device, family, guests[family], port=port, routed=routed)
        of_bridge = network.bridge is not None and name == network.bridge.name
        yield name, [*(samples if of_bridge else []), *across]


def _writer(blames: Iterable[Blame]) -> tuple[Callable[[Place], str], list[str]]:
    """Return what tells how a rule is written, and a note where nothing does."""
    places = [place for blame in blames for place in (blame.place, *blame.doubts)]
    chains = {
        (place.table.family, place.table.name, place.chain)
        for place in places
        if place.table.program == "nft" and place.rule is not None
    }
    known = {chain: list_rules(*chain) for chain in chains} if has_nft() else {}

    def text_of(place: Place) -> str:
        rules = known.get((place.table.family, place.table.name, place.chain), {})
        return rules.get(place.rule.handle, "") if place.rule is not None else ""

    missing = bool(chains) and not known
    return text_of, ["nft is not installed, so rules are named by their handles"] if missing else []
