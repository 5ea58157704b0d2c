"""A definition made complete: what is generated once, stored, and the same ever after."""

from __future__ import annotations

import dataclasses
import secrets
import uuid as uuids
from collections.abc import Mapping

from jackfield.document.complete import complete
from jackfield.engine.records import NetworkRecord
from jackfield.errors import AlreadyExists
from jackfield.model.network import Bridge, Network
from jackfield.model.values import InterfaceName
from jackfield.state.facts import LinkFact

__all__ = ["complete_definition"]


def complete_definition(
    network: Network,
    former: Network | None,
    bridges: Mapping[InterfaceName, NetworkRecord],
    links: Mapping[str, LinkFact],
) -> Network:
    """Return ``network`` with everything it does not say filled in.

    What ``former``, the definition of the same name, had been given stays: its uuid, and for a
    network with a bridge of its own the bridge's name and address.  A new bridge name is the
    lowest that neither ``bridges`` (of all networks) nor ``links`` (of the host) has.

    Raises ``AlreadyExists`` when the document names another network's bridge.
    """
    if former is not None:
        network = _inherit(network, former)
    owner = None
    if network.mode.is_routed and network.bridge is not None and network.bridge.name is not None:
        owner = bridges.get(network.bridge.name)
        if owner is not None and owner.name != network.name:
            raise AlreadyExists(
                f"bridge name {network.bridge.name!r} is already in use by network {owner.name!r}",
                hint="take the name out of <bridge> to get a free one",
            )
    return complete(
        network,
        taken_bridges={*bridges, *links},
        new_uuid=uuids.uuid4(),
        random_bytes=secrets.token_bytes,
    )


def _inherit(network: Network, former: Network) -> Network:
    if network.uuid is None:
        network = dataclasses.replace(network, uuid=former.uuid)
    if not network.mode.is_routed or not former.mode.is_routed:
        return network
    bridge = network.bridge or Bridge()
    if bridge.name is None and former.bridge is not None:
        network = dataclasses.replace(
            network, bridge=dataclasses.replace(bridge, name=former.bridge.name)
        )
    if network.mac is None:
        network = dataclasses.replace(network, mac=former.mac)
    return network
