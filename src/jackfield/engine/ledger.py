"""The ledger of shared sysctls: who needs them, and what they were before us.

A shared sysctl (``net.ipv4.ip_forward``) is set when its first user comes.  When the last one
goes it is put back, unless somebody else has changed it since: then it is theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from jackfield.engine.store import Store
from jackfield.host.applier import Applier
from jackfield.host.driver import Presence
from jackfield.state.hoststate import Change
from jackfield.state.resources import Resource, Setting

__all__ = ["acquire", "release"]


def acquire(store: Store, applier: Applier, network: UUID, wanted: Iterable[Resource]) -> None:
    """Record ``network`` as a user of its shared sysctls, and their values before us.

    Part of the transaction that opens the step; the values are written afterwards.
    """
    for setting in _shared(wanted):
        if store.setting(setting.name) is None:
            seen = applier.observe([setting])[setting.key]
            if seen.presence is Presence.ABSENT or not isinstance(seen.resource, Setting):
                continue
            store.put_setting(setting.name, seen.resource.value, setting.value)
        store.add_setting_user(setting.name, network)


def release(store: Store, applier: Applier, network: UUID, wanted: Iterable[Resource] = ()) -> None:
    """Strike ``network`` from the users of the shared sysctls it does not want any more.

    Values are put back outside any transaction: done twice, it does no harm.
    """
    kept = {setting.name for setting in _shared(wanted)}
    released = [name for name in store.settings_of(network) if name not in kept]
    finished = []
    for name in released:
        recorded = store.setting(name)
        if recorded is None or store.setting_has_users(name, besides=network):
            continue
        finished.append(name)
        previous, ours = recorded
        setting = Setting(name=name, value=previous, shared=True)
        seen = applier.observe([setting])[setting.key]
        if isinstance(seen.resource, Setting) and seen.resource.value == ours != previous:
            applier.perform(Change(ensure=(setting,)))
    if released:
        with store.transaction():
            for name in released:
                store.delete_setting_user(name, network)
            for name in finished:
                store.delete_setting(name)


def _shared(resources: Iterable[Resource]) -> list[Setting]:
    return [item for item in resources if isinstance(item, Setting) and item.shared]
