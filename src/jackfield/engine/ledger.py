"""The ledger of shared settings: who needs them, and what they were before us.

A shared sysctl (``net.ipv4.ip_forward``), or an uplink's state or address, is set when its first
user comes, a network or a port.  When the last one goes it is put back, unless somebody else has
changed it since: then it is theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from jackfield.engine.store import Store
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
from jackfield.state.resources import Resource, SharedSetting, shared_setting

__all__ = ["acquire", "release"]

_ASPECTS = tuple(FunctionAspect)


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
            if seen.presence is Presence.ABSENT or not isinstance(seen.resource, SharedSetting):
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
    # All are looked at first, because putting one back may change another.
    put_back: list[SharedSetting] = []
    for name in released:
        recorded = store.setting(name)
        if recorded is None or store.setting_has_users(name, besides=user):
            continue
        finished.append(name)
        previous, ours = recorded
        setting = shared_setting(name, previous)
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
