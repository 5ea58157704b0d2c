"""Which rules of others drop what a network needs, and what to do about them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from jackfield.diagnosis.finding import Finding, Likelihood
from jackfield.diagnosis.judge import Outcome, Place, judge
from jackfield.diagnosis.packet import Sample
from jackfield.state.ruleset import Ruleset

__all__ = ["Blame", "find_blames", "tell_blame"]


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


def find_blames(ruleset: Ruleset, bridge: str, samples: Iterable[Sample]) -> list[Blame]:
    """Return what of ``samples`` is dropped, each place once."""
    found: dict[tuple[Outcome, Place, tuple[Place, ...]], list[Sample]] = {}
    for sample in samples:
        verdicts = judge(ruleset, sample)
        if verdicts.place is not None:
            key = (verdicts.outcome, verdicts.place, verdicts.doubts)
            found.setdefault(key, []).append(sample)
    return [
        Blame(outcome=outcome, place=place, doubts=doubts, samples=tuple(dropped), bridge=bridge)
        for (outcome, place, doubts), dropped in found.items()
    ]


def tell_blame(network: str, blame: Blame, text_of: Callable[[Place], str]) -> Finding:
    """Return a blame for people; ``text_of`` is how a rule is written."""
    words = _listed(list(dict.fromkeys(sample.words for sample in blame.samples)))
    where = _where(blame.place, text_of)
    if blame.outcome is Outcome.DROPPED:
        return Finding(
            likelihood=Likelihood.FAULT,
            network=network,
            text=f"{words} are dropped by {where}",
            hint=_advice(blame),
        )
    doubts = [item for item in blame.doubts if item != blame.place]
    depends = ""
    if doubts:
        depends = f", which depends on {_listed([_where(item, text_of) for item in doubts])}"
    return Finding(
        likelihood=Likelihood.PERHAPS,
        network=network,
        text=f"{words} are perhaps dropped by {where}{depends}",
        hint=f"if guests lack this: {_advice(blame)}",
    )


def _where(place: Place, text_of: Callable[[Place], str]) -> str:
    table = place.table
    if table.program == "nft":
        chain = f"chain {table.family} {table.name} {place.chain}"
    else:
        chain = f"{table.program}, table {table.name}, chain {place.chain}"
    if place.rule is None:
        return f"the policy of {chain}"
    text = place.rule.text or text_of(place)
    handle = f" (handle {place.rule.handle})" if table.program == "nft" else ""
    return f"{chain}, rule{handle}: {text}" if text else f"{chain}, rule{handle}"


def _listed(words: Sequence[str]) -> str:
    """Return words with commas and an ``and``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _advice(blame: Blame) -> str:
    """Return what whoever keeps those rules has for this."""
    place, bridge = blame.place, blame.bridge
    chains = place.table.chains
    forwarded = {sample.direction for sample in blame.samples} & {"out", "in", "across"}
    if place.table.name == "firewalld":
        return (
            f"firewalld's zone of {bridge} (firewall-cmd --get-zone-of-interface={bridge}) does "
            f"not let it through; change it: firewall-cmd --zone=trusted --change-interface="
            f"{bridge}, or in the network: <bridge name='{bridge}' zone='trusted'/>"
        )
    if _is_ufw(place, chains) and not ("DOCKER-USER" in chains and place.chain == "FORWARD"):
        return "; ".join(_ufw(blame, bridge))
    if _is_iptables(place):
        chain = place.base
        if chain == "FORWARD" and forwarded and "DOCKER-USER" in chains:
            chain = "DOCKER-USER"
        return "; ".join(_iptables(blame, chain, bridge))
    return "; ".join(_nft(blame, bridge))


def _is_ufw(place: Place, chains: Iterable[str]) -> bool:
    return place.chain.startswith(("ufw-", "ufw6-")) or any(
        name.startswith(("ufw-", "ufw6-")) for name in chains
    )


def _is_iptables(place: Place) -> bool:
    """Tell whether iptables keeps the table: it writes what it calls them in capitals."""
    return place.table.family in {"ip", "ip6"} and place.base.isupper()


def _ufw(blame: Blame, bridge: str) -> Iterable[str]:
    directions = {sample.direction for sample in blame.samples}
    if "out" in directions or "across" in directions:
        yield f"ufw route allow in on {bridge}"
    if "in" in directions:
        yield f"ufw route allow out on {bridge}"
    if "to-host" in directions:
        yield f"ufw allow in on {bridge}"
    if "from-host" in directions:
        yield f"ufw allow out on {bridge}"


def _iptables(blame: Blame, chain: str, bridge: str) -> Iterable[str]:
    """Yield what is to be put before all other rules, for each family and direction."""
    versions = sorted({sample.version for sample in blame.samples})
    if blame.place.table.family != "inet":
        versions = [6 if blame.place.table.family == "ip6" else 4]
    directions = {sample.direction for sample in blame.samples}
    table = blame.place.table.name
    option = "" if table == "filter" else f" -t {table}"
    for version in versions:
        program = f"{'ip6tables' if version == 6 else 'iptables'}{_flavour(blame)}{option}"
        for match in _iptables_matches(directions, bridge):
            yield f"{program} -I {chain} {match} -j ACCEPT"


def _flavour(blame: Blame) -> str:
    return "-legacy" if blame.place.table.program.endswith("-legacy") else ""


def _iptables_matches(directions: set[str], bridge: str) -> Iterable[str]:
    if directions == {"across"}:
        yield f"-i {bridge} -o {bridge}"
    if directions & {"out", "to-host"}:
        yield f"-i {bridge}"
    if directions & {"in", "from-host"}:
        yield f"-o {bridge}"


def _nft(blame: Blame, bridge: str) -> Iterable[str]:
    """Yield what is to be put before all other rules of the chain that the kernel calls."""
    table = blame.place.table
    chain = f"{table.family} {table.name} {blame.place.base}"
    hook = table.chains[blame.place.base].hook
    if table.family in {"bridge", "netdev"} or (hook and hook.name in {"prerouting", "ingress"}):
        yield f"have chain {chain} accept it: nft --handle list chain {chain} shows its rules"
        return
    directions = {sample.direction for sample in blame.samples}
    matches = [f'iifname "{bridge}"'] if directions & {"out", "to-host"} else []
    matches += [f'oifname "{bridge}"'] if directions & {"in", "from-host"} else []
    if directions == {"across"}:
        matches = [f'iifname "{bridge}" oifname "{bridge}"']
    for match in matches:
        yield f"nft insert rule {chain} {match} accept"
