"""What is in use: derived from the ports there are, never counted on its own.

A usage is a value: ``with_port`` and ``without_port`` give another one.  Keys of uplinks are what
a plug names: a device, a PCI address, or the bridge over an uplink.  Keys of networks are the
caller's, their uuid or name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from jackfield.model.port import BridgePlug, DirectPlug, HostdevPlug, Port
from jackfield.model.virtualport import VirtualPortType

__all__ = ["Hint", "Usage", "is_counted", "is_exclusive", "uplink_key"]


def uplink_key(port: Port) -> str | None:
    """Return the name under which the port's uplink is counted; ``None`` if it has none.

    It is a plain ``str``: dictionaries are several times faster with those than with a subclass.
    """
    plug = port.plug
    if isinstance(plug, DirectPlug):
        return str(plug.dev)
    if isinstance(plug, HostdevPlug):
        return str(plug.address)
    return str(plug.bridge) if isinstance(plug, BridgePlug) else None


def is_counted(port: Port) -> bool:
    """Whether the port uses anything of which there is a limit."""
    return port.group is not None or port.bandwidth is not None or uplink_key(port) is not None


def is_exclusive(port: Port) -> bool:
    """Whether nobody else may use the port's uplink."""
    plug = port.plug
    if isinstance(plug, DirectPlug):
        if plug.mode == "passthrough":
            return True
        kind = None if port.virtualport is None else port.virtualport.type
        return plug.mode == "private" and kind is VirtualPortType.VN_LINK
    return isinstance(plug, HostdevPlug)


def _changed(counts: Mapping[str, int], key: str | None, by: int) -> Mapping[str, int]:
    """Return ``counts`` with ``key`` changed; what falls to nothing is left out."""
    if key is None or by == 0:
        return counts
    result = dict(counts)
    value = result.get(key, 0) + by
    if value > 0:
        result[key] = value
    else:
        result.pop(key, None)
    return result


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """What is known of the counts of ``keys``.

    None is below ``least``, and each before ``index`` is above it.  More ports leave that true,
    so a usage hands it on to the one with another port, and filling many uplinks does not look
    at all of them for each port.
    """

    keys: tuple[str, ...]
    least: int
    index: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """How many ports use what on this host; entries of 0 do not occur.

    ``uplinks`` and ``exclusive`` count over all networks; ``groups`` by network and portgroup,
    ``floors`` the guaranteed inbound rate in KiB/s and ``classes`` the traffic classes in use,
    by network.
    """

    uplinks: Mapping[str, int] = dataclasses.field(default_factory=dict)
    exclusive: Mapping[str, int] = dataclasses.field(default_factory=dict)
    groups: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)
    floors: Mapping[str, int] = dataclasses.field(default_factory=dict)
    classes: Mapping[str, frozenset[int]] = dataclasses.field(default_factory=dict)
    hint: Hint | None = dataclasses.field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, ports: Iterable[tuple[str, Port]]) -> Usage:
        """Return the usage of ``ports``, each with the key of its network."""
        uplinks: dict[str, int] = {}
        exclusive: dict[str, int] = {}
        groups: dict[str, dict[str, int]] = {}
        floors: dict[str, int] = {}
        classes: dict[str, set[int]] = {}
        for network, port in ports:
            key = uplink_key(port)
            if key is not None:
                uplinks[key] = uplinks.get(key, 0) + 1
                if is_exclusive(port):
                    exclusive[key] = exclusive.get(key, 0) + 1
            if port.group is not None:
                counts = groups.setdefault(network, {})
                counts[port.group] = counts.get(port.group, 0) + 1
            if floor := _floor(port):
                floors[network] = floors.get(network, 0) + floor
            if port.bandwidth is not None and port.bandwidth.class_id is not None:
                classes.setdefault(network, set()).add(port.bandwidth.class_id)
        return cls(
            uplinks=uplinks,
            exclusive=exclusive,
            groups=groups,
            floors=floors,
            classes={network: frozenset(ids) for network, ids in classes.items()},
        )

    def with_port(self, network: str, port: Port) -> Usage:
        """Return the usage after ``port`` was made."""
        return self._after(network, port, 1)

    def without_port(self, network: str, port: Port) -> Usage:
        """Return the usage after ``port`` was removed."""
        return self._after(network, port, -1)

    def in_groups(self, network: str) -> Mapping[str, int]:
        """Return how many ports the portgroups of ``network`` have, those that have any."""
        return self.groups.get(network, {})

    def _after(self, network: str, port: Port, by: int) -> Usage:
        key = uplink_key(port)
        groups = self.groups
        if port.group is not None:
            groups = {**groups, network: _changed(groups.get(network, {}), port.group, by)}
            if not groups[network]:
                del groups[network]
        classes = self.classes
        if port.bandwidth is not None and port.bandwidth.class_id is not None:
            one = frozenset({port.bandwidth.class_id})
            known = classes.get(network, frozenset())
            classes = {**classes, network: known | one if by > 0 else known - one}
            if not classes[network]:
                del classes[network]
        return Usage(
            uplinks=_changed(self.uplinks, key, by),
            exclusive=_changed(self.exclusive, key, by if is_exclusive(port) else 0),
            groups=groups,
            floors=_changed(self.floors, network, by * _floor(port)),
            classes=classes,
            hint=self.hint if by > 0 else None,
        )

    def remember(self, hint: Hint) -> None:
        """Keep ``hint``, which is true of this usage; what it says does not change the value."""
        object.__setattr__(self, "hint", hint)


def _floor(port: Port) -> int:
    inbound = None if port.bandwidth is None else port.bandwidth.inbound
    return 0 if inbound is None else inbound.floor or 0
