"""Processes of ours that serve a network."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, TypeAlias
from uuid import UUID

from jackfield.model.values import InterfaceName, Text
from jackfield.state.links import Standing

__all__ = ["Dnsmasq", "Service", "VdeSwitch"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dnsmasq(Standing):
    """A dnsmasq process of ours and the files it reads.

    ``config`` is read at its start only; ``hosts`` (``dhcp-hostsfile``), ``names``
    (``addn-hosts``) and ``options`` (``dhcp-optsfile``) are read again on SIGHUP, and so is the
    servers file, which the host side writes from ``servers`` and, when ``follow_resolver``, the
    host's own resolver configuration.  In ``config`` a value that begins with ``@DIR@/`` lies in
    the directory of the network's files, one with ``@STATE@/`` in that of all lease files.
    """

    kind: ClassVar[str] = "dnsmasq"
    network: UUID
    bridge: InterfaceName
    config: str
    hosts: str = ""
    names: str = ""
    options: str = ""
    servers: tuple[str, ...] = ()
    follow_resolver: bool = True
    serves_dhcp4: bool = False
    serves_dhcp6: bool = False

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"dnsmasq:{self.network}"

    @property
    def serves_on(self) -> str:
        """The key of the link that the process is bound to."""
        return f"link:{self.bridge}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class VdeSwitch(Standing):
    """A vde_switch process of ours on ``tap``, open to ``group`` or, without one, to root.

    ``user`` is the numeric id that it runs as, ``None`` only where nothing is to be done.
    ``running``, and ``reachable`` (its socket is there), are false only on what was observed.
    """

    kind: ClassVar[str] = "vde-switch"
    network: UUID
    tap: InterfaceName
    group: Text | None = None
    user: int | None = None
    running: bool = True
    reachable: bool = True

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"vde-switch:{self.network}"

    @property
    def serves_on(self) -> str:
        """The key of the link that the process is bound to."""
        return f"link:{self.tap}"


Service: TypeAlias = Dnsmasq | VdeSwitch
"""What is a process that serves a network: it takes a while until it does, and may die."""
