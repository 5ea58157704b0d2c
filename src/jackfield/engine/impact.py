"""Which definition a change is for: the running one, the stored one, or both.

The same rule as libvirt's ``VIR_NETWORK_UPDATE_AFFECT_*``: nothing said means the running network
where it runs, and the stored definition where it does not.
"""

from __future__ import annotations

import dataclasses

from jackfield.engine.records import NetworkRecord
from jackfield.errors import WrongState, shell_word

__all__ = ["Impact"]


@dataclasses.dataclass(frozen=True, slots=True)
class Impact:
    """Whether the running network, the stored definition, or both are meant."""

    live: bool
    config: bool

    @classmethod
    def of(cls, record: NetworkRecord, *, live: bool, config: bool) -> Impact:
        """Return what ``live`` and ``config`` mean for the network.

        Raises ``WrongState`` when it does not run, or has no stored definition, but is to be
        changed there.
        """
        if not live and not config:
            live = record.active
            config = not live
        if live and not record.active:
            raise WrongState(
                f"network {record.name!r} is not active, so there is nothing running to change",
                hint=f"jackfield start {shell_word(record.name)}, or change its definition only",
            ).in_libvirt("network is not running")
        if config and record.stored is None:
            raise WrongState(
                f"network {record.name!r} is transient: it has no stored definition to change"
            ).in_libvirt("cannot change persistent config of a transient network")
        return cls(live, config)
