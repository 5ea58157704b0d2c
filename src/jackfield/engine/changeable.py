"""What of a running network cannot change while it has ports."""

from __future__ import annotations

from collections.abc import Callable

from jackfield.allocation.change import check_change, check_kind
from jackfield.engine.records import NetworkRecord
from jackfield.engine.registry import Registry
from jackfield.errors import WrongState, counted
from jackfield.model.network import Network
from jackfield.model.port import VdePlug
from jackfield.plan.managedbridge import check_bridges_kept
from jackfield.state.facts import Facts

__all__ = ["check_changeable", "check_realised_kind"]


def check_changeable(
    registry: Registry,
    facts: Callable[[Network], Facts],
    record: NetworkRecord,
    former: Network,
    network: Network,
) -> None:
    """Refuse to make a running network another one, where its ports would be cut off by that."""
    ports = registry.port_count(record.uuid)
    if former.vde != network.vde and any(
        isinstance(port.port.plug, VdePlug) for port in registry.ports_of(record.uuid)
    ):
        raise WrongState(
            f"network {network.name!r} has ports at its VDE switch, which cannot change: "
            "another one would not know them",
            hint="detach them first: jackfield detach PORT",
        )
    check_realised_kind(registry, record, network)
    if former.mode is not network.mode and ports:
        raise WrongState(
            f"network {network.name!r} has {counted(ports, 'port')}: its mode cannot change "
            f"from {former.mode.value} to {network.mode.value}",
            hint="detach the ports, or define it now and stop and start it later",
        )
    before, after = (item.bridge and item.bridge.name for item in (former, network))
    if before != after and ports:
        raise WrongState(
            f"network {network.name!r} has {counted(ports, 'port')} on bridge {before}: "
            f"it cannot move to {after} while it runs",
            hint="define it, then stop and start it",
        )
    check_bridges_kept(former, network)
    in_use = [port.port for port in registry.ports_of(record.uuid)]
    check_change(former, network, in_use, facts(former))

    promised = registry.usage.floors.get(str(record.uuid), 0)
    inbound = None if network.bandwidth is None else network.bandwidth.inbound
    limit = 0 if inbound is None else inbound.peak or inbound.average or 0
    if promised > limit:
        raise WrongState(
            f"network {network.name!r}: {promised} KiB/s are promised to its ports, more than "
            f"the {limit} KiB/s that it would have",
            hint="give it more inbound bandwidth, or take floors of its ports back first",
        )


def check_realised_kind(registry: Registry, record: NetworkRecord, network: Network) -> None:
    """Refuse a definition with which devices of ours would hang in the air."""
    ports = registry.ports_of(record.uuid)
    check_kind(network, [port.port for port in ports if port.realiser == "jackfield"])
