"""Plans of networks: made when they are first needed, and kept."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from jackfield.engine.longdocuments import aside
from jackfield.model.network import Network
from jackfield.plan.network import check_network, plan_network
from jackfield.state.hoststate import HostState

__all__ = ["Plans"]


class Plans:
    """Plans networks, and remembers the last plan of each."""

    def __init__(
        self,
        dnsmasq_user: str | None,
        vde_user: int | None,
        virtual_functions: Mapping[str, int],
    ) -> None:
        """Plan for helper processes that run as these users, the second one a numeric id.

        ``virtual_functions`` says how many of them physical functions are to have.
        """
        self._dnsmasq_user = dnsmasq_user
        self._vde_user = vde_user
        self._virtual_functions = virtual_functions
        self._known: dict[UUID, tuple[Network, HostState]] = {}

    def plan(self, network: Network) -> HostState:
        """Return the host state that a complete ``network`` wants."""
        known = None if network.uuid is None else self._known.get(network.uuid)
        if known is not None and (known[0] is network or known[0] == network):
            return known[1]
        wanted = plan_network(
            network,
            dnsmasq_user=self._dnsmasq_user,
            vde_user=self._vde_user,
            virtual_functions=self._virtual_functions,
        )
        if network.uuid is not None:
            self._known[network.uuid] = (network, wanted)
        return wanted

    async def prepare(self, network: Network) -> None:
        """Have ``plan`` know the plan of a long network, without holding up the loop."""
        await aside(lambda: self.plan(network), network)

    async def check(self, network: Network) -> None:
        """Raise what ``plan`` would raise; most definitions are planned when they are started."""
        known = None if network.uuid is None else self._known.get(network.uuid)
        if known is None or known[0] != network:
            await aside(lambda: check_network(network), network)

    def forget(self, uuid: UUID) -> None:
        """Forget the plan of a network that is no more."""
        self._known.pop(uuid, None)
