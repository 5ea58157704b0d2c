"""Whether the host forwards, which networks need and anybody may turn off.

It is not turned on again, because that may be meant: the networks that need it say so, and
``jackfield apply NAME`` puts it right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from jackfield.engine.records import NetworkRecord
from jackfield.engine.registry import Registry
from jackfield.engine.tidings import Tidings
from jackfield.errors import JackfieldError
from jackfield.host.settings import read_setting
from jackfield.state.settings import Setting

__all__ = ["ForwardingWatch"]

_SETTLE = 0.2
"""Seconds after a change before it is judged: who reads a file of sysctls sets them one by one."""

_CHANGED = "so nothing passes between it and others"


class ForwardingWatch:
    """Has networks say that the host does not forward for them any more."""

    def __init__(
        self,
        registry: Registry,
        tidings: Tidings,
        later: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """Watch for the networks of ``registry``; ``later`` runs a coroutine as a task."""
        self._registry = registry
        self._tidings = tidings
        self._later = later
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Judge nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def changed(self) -> None:
        """Take note of a change, whoever made it."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SETTLE, self._judge)

    def _judge(self) -> None:
        self._timer = None
        found: dict[str, str | None] = {}
        for record in list(self._registry.networks.values()):
            if record.active:
                self._judge_one(record, found)

    def _judge_one(self, record: NetworkRecord, found: dict[str, str | None]) -> None:
        """Tell of one network; what was read already is in ``found``."""
        problem = None
        for item in record.present.values():
            if not (isinstance(item, Setting) and item.shared):
                continue
            if item.name not in found:
                found[item.name] = _read(item.name)
            if found[item.name] != item.value:
                value = found[item.name]
                problem = f"sysctl {item.name.replace('/', '.')} is {value}, {_CHANGED}"
        known = record.problem
        if problem is not None and record.lock.locked():
            # It may be stopping, or being mended just now.
            self.changed()
        elif problem is not None and problem != known:
            self._later(self._tidings.problem(record, problem))
        elif problem is None and known is not None and _CHANGED in known:
            record.problem = None


def _read(name: str) -> str | None:
    try:
        return read_setting(name)
    except JackfieldError:
        return None
