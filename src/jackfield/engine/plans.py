"""Plans of networks: made when they are first needed, and kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from uuid import UUID

from jackfield.document.json import network_to_json
from jackfield.engine.longdocuments import aside
from jackfield.model.network import Network
from jackfield.plan.network import check_network, plan_network
from jackfield.state.hoststate import HostState

__all__ = ["Plans"]


@dataclasses.dataclass(slots=True)
class _Planned:
    """A plan, and its network as the store keeps it, once that has been asked for."""

    network: Network
    wanted: HostState
    document: bytes | None = None


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
        self._known: dict[UUID, _Planned] = {}

    def plan(self, network: Network) -> HostState:
        """Return the host state that a complete ``network`` wants."""
        return self._planned(network).wanted

    async def prepare(self, network: Network) -> tuple[HostState, bytes]:
        """Return what ``plan`` returns, and the network as the store keeps it.

        A long one does not hold up the loop.
        """
        planned = self._kept(network)
        if planned is None or planned.document is None:
            return await aside(lambda: self._prepared(network), network)
        return planned.wanted, planned.document

    def _prepared(self, network: Network) -> tuple[HostState, bytes]:
        planned, document = self._planned(network), network_to_json(network)
        planned.document = document
        return planned.wanted, document

    def _planned(self, network: Network) -> _Planned:
        planned = self._kept(network)
        if planned is None:
            planned = _Planned(
                network,
                plan_network(
                    network,
                    dnsmasq_user=self._dnsmasq_user,
                    vde_user=self._vde_user,
                    virtual_functions=self._virtual_functions,
                ),
            )
            if network.uuid is not None:
                self._known[network.uuid] = planned
        return planned

    def _kept(self, network: Network) -> _Planned | None:
        known = None if network.uuid is None else self._known.get(network.uuid)
        if known is not None and (known.network is network or known.network == network):
            return known
        return None

    async def check(self, network: Network) -> None:
        """Raise what ``plan`` would raise; most definitions are planned when they are started."""
        if self._kept(network) is None:
            await aside(lambda: check_network(network), network)

    def forget(self, uuid: UUID) -> None:
        """Forget the plan of a network that is no more."""
        self._known.pop(uuid, None)
