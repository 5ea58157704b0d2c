"""The ledger of shared settings: who needs them, and what they were before us.

A shared setting, as a sysctl (``net.ipv4.ip_forward``) or an uplink's state, is set when its first
user comes, a network or a port.  When the last one goes it is put back, unless somebody else has
changed it since: then it is theirs.

What is an uplink's is that very link's, by whatever name it goes: it is not put on another one
that has got its name.  Of a virtual function it is what has its name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from uuid import UUID

from jackfield.engine.store.rows import SettingRow
from jackfield.engine.store.tables import Store
from jackfield.errors import JackfieldError, WrongState
from jackfield.host.applier import Applier
from jackfield.host.driver import Presence
from jackfield.state.functions import (
    FunctionAspect,
    FunctionCount,
    FunctionSetting,
    OwnAddress,
)
from jackfield.state.hoststate import Change
from jackfield.state.resources import Resource
from jackfield.state.settings import LinkSetting, SharedSetting, shared_setting

__all__ = ["acquire", "of_another_link", "release"]

_ASPECTS = tuple(FunctionAspect)


def acquire(store: Store, applier: Applier, user: UUID, wanted: Iterable[Resource]) -> None:
    """Record ``user`` as a user of its shared settings, and their values before us.

    Part of the transaction that opens the step; the values are written afterwards.
    """
    shared = _shared(wanted)
    # A virtual function has another device, of the same name, when its driver has taken on what is
    # set of it.
    lasts = not any(isinstance(item, FunctionSetting) for item in shared)
    for other in of_another_link(store, applier, shared):
        _set_aside(store, applier, other)
    for setting in shared:
        recorded = store.setting(setting.name)
        if recorded is not None and recorded.ours != setting.value:
            store.put_setting(setting.name, dataclasses.replace(recorded, ours=setting.value))
        if recorded is None:
            seen = applier.observe([setting])[setting.key]
            if seen.presence is Presence.ABSENT or not isinstance(seen.resource, SharedSetting):
                continue
            link = seen.resource.index if lasts and isinstance(seen.resource, LinkSetting) else None
            row = SettingRow(seen.resource.value, setting.value, link)
            store.put_setting(setting.name, row)
        store.add_setting_user(setting.name, user)


def of_another_link(
    store: Store, applier: Applier, wanted: Iterable[Resource]
) -> list[LinkSetting]:
    """Return the settings whose link's name was another one's when they were recorded."""
    found = []
    for setting in {item.name: item for item in wanted if isinstance(item, LinkSetting)}.values():
        recorded = store.setting(setting.name)
        if recorded is None or recorded.link is None:
            continue
        seen = applier.observe([setting])[setting.key].resource
        if isinstance(seen, LinkSetting) and seen.index != recorded.link:
            found.append(setting)
    return found


def _set_aside(store: Store, applier: Applier, setting: LinkSetting) -> None:
    """Have what is recorded go with its link, if that is still there by another name."""
    recorded = store.setting(setting.name)
    assert recorded is not None
    former = dataclasses.replace(setting, index=recorded.link)
    seen = applier.observe([former])[former.key].resource
    if isinstance(seen, LinkSetting) and store.setting(seen.name) is None:
        store.rename_setting(setting.name, seen.name)
    else:
        store.delete_setting(setting.name)


def release(store: Store, applier: Applier, user: UUID, wanted: Iterable[Resource] = ()) -> None:
    """Strike ``user`` from the users of the shared settings it does not want any more.

    Values are put back outside any transaction: done twice, it does no harm.
    """
    kept = {setting.name for setting in _shared(wanted)}
    released = [name for name in store.settings_of(user) if name not in kept]
    finished = []
    # All are looked at first, because putting one back may change another.
    put_back: list[SharedSetting] = []
    for name in released:
        recorded = store.setting(name)
        if recorded is None or store.setting_has_users(name, besides=user):
            continue
        finished.append(name)
        previous, ours = recorded.previous, recorded.ours
        setting = shared_setting(name, previous)
        if isinstance(setting, LinkSetting):
            setting = dataclasses.replace(setting, index=recorded.link)
        found = applier.observe([setting])[setting.key].resource
        if isinstance(found, SharedSetting) and _is_ours(found, ours) and found.value != previous:
            put_back.append(setting)
    _put_back(applier, put_back)
    if released:
        with store.transaction():
            for name in released:
                store.delete_setting_user(name, user)
            for name in finished:
                store.delete_setting(name)


def _shared(resources: Iterable[Resource]) -> list[SharedSetting]:
    return [item for item in resources if isinstance(item, SharedSetting) and item.shared]


def _is_ours(found: SharedSetting, ours: str) -> bool:
    """Whether a value is still what we made it, or were making it when a crash came."""
    if isinstance(found, FunctionSetting) and found.aspect is FunctionAspect.DRIVER:
        # On the way from one driver to another it has none.
        return found.value in (ours, "")
    return found.value == ours


def _put_back(applier: Applier, settings: list[SharedSetting]) -> None:
    """Set what was before us: functions while their card is up, how many there are at the end.

    Goes on after a failure, and raises the first one at the end; but a function that a guest still
    has is left to it as it is.
    """
    failure: JackfieldError | None = None
    in_use = set()
    for setting in sorted(settings, key=_rank):
        if isinstance(setting, FunctionSetting) and setting.address in in_use:
            continue
        try:
            applier.perform(Change(ensure=(setting,)))
        except JackfieldError as error:
            failure = failure or error
            if isinstance(setting, FunctionSetting) and isinstance(error, WrongState):
                in_use.add(setting.address)
    if failure is not None:
        raise failure


def _rank(setting: SharedSetting) -> int:
    if isinstance(setting, OwnAddress):
        # A card listens to what a function wants as long as it is trusted.
        return -1
    if isinstance(setting, FunctionSetting):
        return _ASPECTS.index(setting.aspect)
    return len(_ASPECTS) + isinstance(setting, FunctionCount)
