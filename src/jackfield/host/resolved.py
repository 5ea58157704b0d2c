"""systemd-resolved: which name servers answer for a link, and for which domains.

Interface ``org.freedesktop.resolve1.Manager`` (org.freedesktop.resolve1(5)).  It forgets what it
was told of a link when that goes, and keeps it over a restart of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jackfield.host.busservice import BusService
from jackfield.model.address import Address

__all__ = ["Resolved"]

_NAME = "org.freedesktop.resolve1"
_MANAGER = f"{_NAME}.Manager"
_FAMILIES = {4: 2, 6: 10}  # AF_INET, AF_INET6


class Resolved(BusService):
    """The host's resolver, where it is this one; ``begun`` is called when it begins."""

    def __init__(self, begun: Callable[[], object]) -> None:
        """Connect to nothing yet."""
        super().__init__(_NAME, "/org/freedesktop/resolve1", begun)

    async def register(self, link: int, domain: str, servers: Sequence[Address]) -> None:
        """Have names of ``domain``, and no others, be asked of ``servers`` at a link's index."""
        addresses = [[_FAMILIES[server.version], server.packed] for server in servers]
        await self.ask(_MANAGER, "SetLinkDNS", "ia(iay)", link, addresses)
        await self.ask(_MANAGER, "SetLinkDomains", "ia(sb)", link, [[domain, True]])

    async def revert(self, link: int) -> None:
        """Have nothing be asked at a link."""
        await self.ask(_MANAGER, "RevertLink", "i", link)
