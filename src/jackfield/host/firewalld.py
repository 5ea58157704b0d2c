"""firewalld: its zones, and which links are in them.

Interface ``org.fedoraproject.FirewallD1`` on the system bus (firewalld.dbus(5)).  What is changed
here is its runtime configuration: it keeps that over a reload, and loses it when it ends.
"""

from __future__ import annotations

from collections.abc import Callable

from jackfield.errors import HostError
from jackfield.host.busservice import BusService

__all__ = ["Firewalld"]

_NAME = "org.fedoraproject.FirewallD1"
_ZONE = f"{_NAME}.zone"
_POLICY = f"{_NAME}.policy"


class Firewalld(BusService):
    """The firewall, where it runs; ``begun`` is called when it begins, and when it is reloaded."""

    def __init__(self, begun: Callable[[], object]) -> None:
        """Connect to nothing yet."""
        super().__init__(_NAME, "/org/fedoraproject/FirewallD1", begun, "Reloaded")

    async def zones(self) -> frozenset[str]:
        """Return the names of its zones."""
        return frozenset(await self.ask(_ZONE, "getZones"))

    async def policies(self) -> frozenset[str]:
        """Return the names of its policies; none where it is older than they are (0.9)."""
        try:
            return frozenset(await self.ask(_POLICY, "getPolicies"))
        except HostError:
            return frozenset()

    async def zone_of(self, link: str) -> str:
        """Return the zone that ``link`` is in, or an empty text."""
        return str(await self.ask(_ZONE, "getZoneOfInterface", "s", link))

    async def put(self, zone: str, link: str) -> None:
        """Have ``link`` be in ``zone``, whatever it was in before."""
        await self.ask(_ZONE, "changeZoneOfInterface", "ss", zone, link)

    async def take_out(self, zone: str, link: str) -> None:
        """Have ``link`` no longer be in ``zone``."""
        await self.ask(_ZONE, "removeInterface", "ss", zone, link)
