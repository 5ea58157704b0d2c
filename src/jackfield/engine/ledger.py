"""The ledger of shared settings: who needs them, and what they were before us.

A shared sysctl (``net.ipv4.ip_forward``), or an uplink's state or address, is set when its first
user comes, a network or a port.  When the last one goes it is put back, unless somebody else has
changed it since: then it is theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from jackfield.engine.store import Store
from jackfield.host.applier import Applier
from jackfield.host.driver import Presence
from jackfield.state.hoststate import Change
from jackfield.state.resources import (
    LinkSetting,
    Resource,
    Setting,
    SharedSetting,
    shared_setting,
)

__all__ = ["acquire", "release"]


def acquire(store: Store, applier: Applier, user: UUID, wanted: Iterable[Resource]) -> None:
    """Record ``user`` as a user of its shared settings, and their values before us.

    Part of the transaction that opens the step; the values are written afterwards.
    """
    for setting in _shared(wanted):
        recorded = store.setting(setting.name)
        if recorded is not None and recorded[1] != setting.value:
            store.put_setting(setting.name, recorded[0], setting.value)
        if recorded is None:
            seen = applier.observe([setting])[setting.key]
            if seen.presence is Presence.ABSENT or not isinstance(
                seen.resource, Setting | LinkSetting
            ):
                continue
            store.put_setting(setting.name, seen.resource.value, setting.value)
        store.add_setting_user(setting.name, user)


def release(store: Store, applier: Applier, user: UUID, wanted: Iterable[Resource] = ()) -> None:
    """Strike ``user`` from the users of the shared settings it does not want any more.

    Values are put back outside any transaction: done twice, it does no harm.
    """
    kept = {setting.name for setting in _shared(wanted)}
    released = [name for name in store.settings_of(user) if name not in kept]
    finished = []
    for name in released:
        recorded = store.setting(name)
        if recorded is None or store.setting_has_users(name, besides=user):
            continue
        finished.append(name)
        previous, ours = recorded
        setting = shared_setting(name, previous)
        seen = applier.observe([setting])[setting.key]
        found = seen.resource
        if isinstance(found, Setting | LinkSetting) and found.value == ours != previous:
            applier.perform(Change(ensure=(setting,)))
    if released:
        with store.transaction():
            for name in released:
                store.delete_setting_user(name, user)
            for name in finished:
                store.delete_setting(name)


def _shared(resources: Iterable[Resource]) -> list[SharedSetting]:
    return [item for item in resources if isinstance(item, Setting | LinkSetting) and item.shared]
