"""Which uplinks could take a port, how full they are, and which one is taken."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from jackfield.allocation.usage import Hint, Usage
from jackfield.model.mode import Mode
from jackfield.model.network import Network, Portgroup
from jackfield.model.uplink import DeviceUplink, PciAddress, PciUplink, PhysicalFunction, Uplink
from jackfield.model.values import InterfaceName
from jackfield.state.facts import Facts

__all__ = ["Candidates", "candidates_of", "every_candidate", "link_problem", "pick"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Uplinks in document order, virtual functions in place of their physical one.

    ``keys`` are what :class:`Usage` counts; ``others`` gives the second key of a virtual function
    that can be used as a device or as a PCI function.  ``problems`` names uplinks that lead
    nowhere at all.
    """

    keys: tuple[str, ...] = ()
    uplinks: tuple[Uplink, ...] = ()
    others: Mapping[str, str] = dataclasses.field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def used(self, key: str, usage: Usage) -> int:
        """Return how many ports the uplink ``key`` has, over all networks."""
        other = self.others.get(key)
        more = 0 if other is None else usage.uplinks.get(other, 0)
        return usage.uplinks.get(key, 0) + more

    def is_taken(self, key: str, usage: Usage) -> bool:
        """Whether somebody has the uplink ``key`` for itself."""
        return key in usage.exclusive or self.others.get(key) in usage.exclusive


_REMEMBERED = 256
# Compiled candidates of networks without physical functions, by identity; the network is kept
# beside them, so that its identity stays its own.
_remembered: dict[int, tuple[Network, dict[str | None, Candidates]]] = {}


def candidates_of(network: Network, portgroup: Portgroup | None, facts: Facts) -> Candidates:
    """Return the uplinks that a port of ``portgroup`` (``None``: of no portgroup) could use."""
    if facts.virtual_functions:
        return _compile(network, portgroup, facts)
    known = _remembered.get(id(network))
    if known is None or known[0] is not network:
        while len(_remembered) >= _REMEMBERED:
            _remembered.pop(next(iter(_remembered)))
        known = _remembered[id(network)] = (network, {})
    name = None if portgroup is None else portgroup.name
    compiled = known[1].get(name)
    if compiled is None:
        compiled = known[1][name] = _compile(network, portgroup, facts)
    return compiled


def _compile(network: Network, portgroup: Portgroup | None, facts: Facts) -> Candidates:
    if portgroup is not None and portgroup.uplinks:
        return _expand(network, portgroup.uplinks, facts)
    if portgroup is None and any(group.uplinks for group in network.portgroups):
        # What belongs to portgroups is given out by them alone, or their limits would not hold.
        return Candidates()
    return _expand(network, network.uplinks, facts)


def every_candidate(network: Network, facts: Facts) -> Candidates:
    """Return all that a port of ``network`` could ever use, whatever its portgroup."""
    return _expand(network, network.uplinks, facts)


def _expand(network: Network, uplinks: tuple[Uplink, ...], facts: Facts) -> Candidates:
    if network.mode is Mode.BRIDGE:
        bridges = dict(zip(network.uplinks, network.managed_bridges, strict=False))
        names = tuple(str(bridges[one]) for one in uplinks if one in bridges)
        return Candidates(keys=names, uplinks=uplinks)
    devices, functions = _virtual_functions(facts)
    keys: list[str] = []
    chosen: list[Uplink] = []
    problems: list[str] = []
    for uplink in uplinks:
        if isinstance(uplink, PhysicalFunction):
            known = facts.virtual_functions.get(uplink.dev, ())
            if not known:
                problems.append(f"{uplink.dev} has no virtual functions")
            found: list[tuple[InterfaceName | None, PciAddress]] = [
                (one.dev, one.address) for one in known
            ]
        elif isinstance(uplink, PciUplink):
            found = [(functions.get(str(uplink.address)), uplink.address)]
        elif network.mode is Mode.HOSTDEV:
            problems.append(f"{uplink.dev} is not a PCI function")
            continue
        else:
            keys.append(str(uplink.dev))
            chosen.append(uplink)
            continue
        for dev, address in found:
            if network.mode is Mode.HOSTDEV:
                keys.append(str(address))
            elif dev is not None:
                keys.append(str(dev))
            else:
                problems.append(f"{address} has no interface here")
                continue
            chosen.append(PciUplink(address=address))
    others = {**devices, **functions}
    return Candidates(
        keys=tuple(keys),
        uplinks=tuple(chosen),
        others={key: others[key] for key in keys if key in others},
        problems=tuple(problems),
    )


def _virtual_functions(facts: Facts) -> tuple[dict[str, str], dict[str, InterfaceName]]:
    """Return the PCI address of each virtual function's device, and the other way round."""
    addresses: dict[str, str] = {}
    devices: dict[str, InterfaceName] = {}
    for functions in facts.virtual_functions.values():
        for one in functions:
            if one.dev is not None:
                addresses[str(one.dev)] = str(one.address)
                devices[str(one.address)] = one.dev
    return addresses, devices


def link_problem(key: str, mode: Mode, facts: Facts) -> str | None:
    """Return why the uplink ``key`` cannot carry a port, or ``None``.

    A link that is down has no carrier to speak of and counts as good: it is brought up.
    """
    if mode is Mode.HOSTDEV:
        return _function_problem(key, facts)
    link = facts.links.get(key)
    if link is None:
        return f"{key} is absent"
    if link.up and link.carrier is False:
        return f"{key} has no carrier"
    if mode.is_macvtap and link.master is not None:
        # The kernel has a link carry either a bridge's frames or macvtaps.
        for master in facts.links.values():
            if master.index == link.master and master.kind == "bridge":
                return f"{key} is a port of bridge {master.name}"
    return None


def _function_problem(address: str, facts: Facts) -> str | None:
    """Return what the host itself does with a virtual function, which it would lose.

    Whether its card has a carrier is not asked: it has none yet when its network has just started.
    """
    for functions in facts.virtual_functions.values():
        for one in functions:
            link = None if one.dev is None else facts.links.get(one.dev)
            if str(one.address) != address or link is None:
                continue
            used = [item for item in link.addresses if not item.ip.is_link_local]
            if used:
                return f"{address} is in use here: {link.name} has the address {used[0]}"
            if link.master is not None:
                return f"{address} is in use here: {link.name} is a port of a bridge"
    return None


def _least_used(candidates: Candidates, usage: Usage) -> tuple[int, int]:
    """Return index and count of the first of the least used."""
    keys, count = candidates.keys, usage.uplinks.get
    hint = usage.hint
    if hint is not None and hint.keys is keys:
        for index in range(hint.index, len(keys)):
            if count(keys[index], 0) <= hint.least:
                usage.remember(Hint(keys=keys, least=hint.least, index=index))
                return index, hint.least
    numbers = [count(key, 0) for key in keys]
    least = min(numbers)
    index = numbers.index(least)
    usage.remember(Hint(keys=keys, least=least, index=index))
    return index, least


def pick(
    candidates: Candidates,
    network: Network,
    usage: Usage,
    facts: Facts,
    *,
    exclusive: bool,
) -> tuple[int, int] | None:
    """Return index and number of ports of the least used uplink that can take a port.

    Among equals the first in document order wins; ``None`` when there is none.
    """
    if not candidates.others:
        # The common case: the least used is good, and nobody else is looked at.
        if not candidates.keys:
            return None
        index, used = _least_used(candidates, usage)
        if _fits(candidates, index, used, network, usage, facts, exclusive=exclusive):
            return index, used
    numbers = [candidates.used(key, usage) for key in candidates.keys]
    for index in sorted(range(len(numbers)), key=numbers.__getitem__):
        if _fits(candidates, index, numbers[index], network, usage, facts, exclusive=exclusive):
            return index, numbers[index]
    return None


def _fits(
    candidates: Candidates,
    index: int,
    used: int,
    network: Network,
    usage: Usage,
    facts: Facts,
    *,
    exclusive: bool,
) -> bool:
    key = candidates.keys[index]
    if (exclusive and used) or candidates.is_taken(key, usage):
        return False
    if network.mode is Mode.BRIDGE:
        # A managed bridge is the network's own; what counts is the uplink under it.
        uplink = candidates.uplinks[index]
        key = uplink.dev if isinstance(uplink, DeviceUplink) else key
        return len(network.uplinks) == 1 or link_problem(key, network.mode, facts) is None
    return link_problem(key, network.mode, facts) is None
