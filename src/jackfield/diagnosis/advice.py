"""What to do about somebody's rule that drops what a network needs, by who keeps the rule.

What guests may ask of the host is opened for these services alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from jackfield.diagnosis.judge import Outcome, Place
from jackfield.diagnosis.packet import Sample
from jackfield.state.ruleset import Decide

__all__ = ["Blame", "advise"]

_DOCKER = "DOCKER-USER"
_UFW = ("ufw-", "ufw6-")
_DNS = 53


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """Where ``samples`` are dropped, or perhaps: then the rules that it depends on are ``doubts``.

    All of them go by one ``bridge``.
    """

    outcome: Outcome
    place: Place
    doubts: tuple[Place, ...]
    samples: tuple[Sample, ...]
    bridge: str

    @property
    def directions(self) -> set[str]:
        """The directions of what is dropped."""
        return {sample.direction for sample in self.samples}

    @property
    def services(self) -> list[int | None]:
        """The ports of the host's services that are not reached; ``None`` is ICMPv6."""
        ports = {sample.port for sample in self.samples if sample.direction == "to-host"}
        return sorted(ports, key=lambda port: port or 0)


def advise(blame: Blame) -> str:
    """Return what whoever keeps those rules has for this."""
    place, bridge = blame.place, blame.bridge
    chains = place.table.chains
    if place.table.name == "firewalld":
        return (
            f"firewalld's zone of {bridge} (firewall-cmd --get-zone-of-interface={bridge}) does "
            f"not let it through; change it: firewall-cmd --zone=trusted --change-interface="
            f"{bridge}, or in the network: <bridge name='{bridge}' zone='trusted'/>"
        )
    hook = chains[place.base].hook
    known = hook is not None and hook.name in {"input", "forward", "output", "postrouting"}
    if not known or place.table.family in {"arp", "bridge", "netdev"}:
        return f"have it accept this: {_listing(place)}"
    docker = place.base == "FORWARD" and _leads_to_docker(place)
    if any(name.startswith(_UFW) for name in chains) and not (docker and place.chain == "FORWARD"):
        return "; ".join(_ufw(blame))
    if place.table.family in {"ip", "ip6"} and place.base.isupper():
        # iptables writes what the kernel calls in capitals.
        return "; ".join(_iptables(blame, _DOCKER if docker else place.base))
    return "; ".join(_nft(blame))


def _listing(place: Place) -> str:
    """Return the command that shows a chain."""
    table = place.table
    if table.program == "nft":
        return f"nft --handle list chain {table.family} {table.name} {place.chain}"
    return f"{table.program} -t {table.name} -nvL {place.chain}"


def _leads_to_docker(place: Place) -> bool:
    """Tell whether Docker lets the administrator have a say before the packet is dropped."""
    for rule in place.table.chains[place.base].rules:
        if rule is place.rule:
            return False
        for item in rule.expressions:
            if isinstance(item, Decide) and item.verdict.chain == _DOCKER:
                return True
    return False


def _ufw(blame: Blame) -> Iterator[str]:
    bridge = blame.bridge
    if blame.directions & {"out", "across"}:
        yield f"ufw route allow in on {bridge}"
    if "in" in blame.directions:
        yield f"ufw route allow out on {bridge}"
    for port in blame.services:
        if port == _DNS:
            yield f"ufw allow in on {bridge} to any port {port}"
        elif port is not None:
            yield f"ufw allow in on {bridge} to any port {port} proto udp"
        else:
            yield f"ufw allow in on {bridge}"
    if "from-host" in blame.directions:
        yield f"ufw allow out on {bridge}"


def _iptables(blame: Blame, chain: str) -> Iterator[str]:
    """Yield what is to be put before all other rules of the chain."""
    table = blame.place.table
    program = "ip6tables" if table.family == "ip6" else "iptables"
    if table.program.endswith("-legacy"):
        program = table.program
    option = "" if table.name == "filter" else f" -t {table.name}"
    matches = [
        *(f"-i {blame.bridge}{match}" for match in map(_iptables_service, blame.services)),
        *([f"-i {blame.bridge} -p tcp --dport {_DNS}"] if _DNS in blame.services else []),
        *([f"-i {blame.bridge}"] if "out" in blame.directions else []),
        *([f"-o {blame.bridge}"] if blame.directions & {"in", "from-host"} else []),
    ]
    for match in matches or [f"-i {blame.bridge} -o {blame.bridge}"]:
        yield f"{program}{option} -I {chain} {match} -j ACCEPT"


def _iptables_service(port: int | None) -> str:
    return " -p ipv6-icmp" if port is None else f" -p udp --dport {port}"


def _nft(blame: Blame) -> Iterator[str]:
    """Yield what is to be put before all other rules of the chain that the kernel calls."""
    table = blame.place.table
    near, far = f'iifname "{blame.bridge}"', f'oifname "{blame.bridge}"'
    ports = [str(port) for port in blame.services if port is not None]
    matches = [
        *([f"{near} udp dport {{ {', '.join(ports)} }}"] if ports else []),
        *([f"{near} tcp dport {_DNS}"] if _DNS in blame.services else []),
        *([f"{near} meta l4proto ipv6-icmp"] if None in blame.services else []),
        *([near] if "out" in blame.directions else []),
        *([far] if blame.directions & {"in", "from-host"} else []),
    ]
    for match in matches or [f"{near} {far}"]:
        yield f"nft insert rule {table.family} {table.name} {blame.place.base} '{match}' accept"
