"""What of ports is mended with their network, one thing after the other.

What a macvtap or macvlan needs of its NIC is asked of that very one: another may have its name.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence

from jackfield.engine.records import PortRecord, Upkeep, state_of_port
from jackfield.engine.workplace import Workplace
from jackfield.errors import JackfieldError
from jackfield.host.applier import is_astray
from jackfield.host.driver import Presence
from jackfield.model.network import Network
from jackfield.plan.describe import describe_resource
from jackfield.state.hoststate import Change
from jackfield.state.links import MacvlanLink, MacvtapLink
from jackfield.state.resources import Resource
from jackfield.state.settings import LinkSetting

__all__ = ["PortsUpkeep", "mend_each", "upkeep_of_ports"]

log = logging.getLogger(__name__)

_OnNic = MacvtapLink | MacvlanLink
_SLICE = 500


@dataclasses.dataclass(frozen=True, slots=True)
class PortsUpkeep:
    """What is mended of ports by key, what they share once, and what of them is on a NIC."""

    wanted: Mapping[str, Upkeep]
    on_nics: Sequence[_OnNic]

    def here(self, tools: Workplace) -> list[Upkeep]:
        """Return what is wanted, of NICs only where a device is on the one that is meant."""
        if not any(isinstance(item, LinkSetting) for item in self.wanted.values()):
            return list(self.wanted.values())
        found = tools.applier.observe(self.on_nics)
        meant = {
            link.lower
            for link in self.on_nics
            if found[link.key].presence is Presence.OURS and not is_astray(link, found[link.key])
        }
        return [
            item
            for item in self.wanted.values()
            if not isinstance(item, LinkSetting) or item.link in meant
        ]


async def upkeep_of_ports(network: Network, ports: Iterable[PortRecord]) -> PortsUpkeep:
    """Return what is mended of ``ports`` of a network; others have their turn meanwhile."""
    items: list[Resource] = []
    for number, port in enumerate(ports):
        if number % _SLICE == _SLICE - 1:
            await asyncio.sleep(0)
        items += state_of_port(network, port).values()
    return PortsUpkeep(
        {item.key: item for item in items if isinstance(item, Upkeep)},
        [item for item in items if isinstance(item, _OnNic)],
    )


def mend_each(tools: Workplace, upkeep: PortsUpkeep) -> tuple[Change, list[str]]:
    """Make these things so; return what that took, and what could not be done and why.

    What one needs whose device vanished meanwhile is left to be seen.
    """
    change = Change()
    failures = []
    for item in upkeep.here(tools):
        try:
            mended, foreign = tools.applier.mend([item])
        except (JackfieldError, ExceptionGroup) as error:
            failure = str(error)
        else:
            change += mended
            failure = f"in the way, and not ours: {', '.join(foreign)}" if foreign else ""
        if failure:
            text = f"{describe_resource(item)}: {failure}"
            log.warning("cannot mend: %s", text)
            if tools.kernel.route.index(item.link) is not None:
                failures.append(text)
    return change, failures
