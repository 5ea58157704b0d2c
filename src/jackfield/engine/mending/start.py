"""What a daemon that starts mends of networks and ports that run, and how that is told."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from jackfield.engine.views import Event
from jackfield.engine.workplace import Workplace, record_event
from jackfield.errors import JackfieldError
from jackfield.model.values import NetworkName
from jackfield.plan.describe import describe
from jackfield.state.hoststate import Change, HostState
from jackfield.state.resources import KINDS, Resource

__all__ = ["mend_states", "note_mended", "tell_mended"]

log = logging.getLogger(__name__)

_TOLD = 5
"""How many steps an event names; the log has all."""


def mend_states(
    tools: Workplace, states: Mapping[UUID, HostState]
) -> tuple[dict[UUID, str], list[Change]]:
    """Mend many host states at once; one by one when that fails, to say which is at fault.

    Returns what could not be mended, and what that took.
    """
    together = _together(states.values())
    changes = []
    try:
        change, foreign = tools.applier.mend_whole(together)
        changes.append(change)
        for step in describe(change):
            log.warning("mended: %s", step.text)
        if not foreign:
            return {}, changes
    except (JackfieldError, ExceptionGroup) as error:
        log.warning("mending everything at once failed (%s): one by one", error)
    problems = {}
    for uuid, state in states.items():
        try:
            change, foreign = tools.applier.mend_whole(list(state.values()))
            changes.append(change)
            if foreign:
                problems[uuid] = f"in the way, and not ours: {', '.join(foreign)}"
        except (JackfieldError, ExceptionGroup) as error:
            problems[uuid] = str(error)
    return problems, changes


def note_mended(
    mended: dict[UUID, list[str]],
    states: Mapping[UUID, HostState],
    change: Change,
    networks: Mapping[UUID, UUID],
) -> None:
    """Add to ``mended`` what a change did for each network; ``networks`` says whose a state is."""
    done = {item.key: item for item in change.ensure}
    for uuid, state in states.items() if done else ():
        ensure = tuple(done[key] for key in state if key in done)
        replaced = {
            item.key: change.replaced[item.key] for item in ensure if item.key in change.replaced
        }
        own = Change(ensure=ensure, replaced=replaced)
        if own:
            told = mended.setdefault(networks[uuid], [])
            told += [step.text for step in describe(own) if step.text not in told]


def tell_mended(
    tools: Workplace, names: Mapping[UUID, NetworkName], mended: Mapping[UUID, list[str]]
) -> list[Event]:
    """Return an event for each network that was mended: who asks may not see the log."""
    events = []
    try:
        with tools.store.transaction():
            for uuid, steps in mended.items():
                more = f"; and {len(steps) - _TOLD} more" if len(steps) > _TOLD else ""
                reason = f"mended when the daemon started: {'; '.join(steps[:_TOLD])}{more}"
                detail = {"reason": reason}
                events.append(record_event(tools, "network-repaired", names[uuid], uuid, detail))
    except JackfieldError as error:
        log.error("no event says that networks were mended: %s", error)
        return []
    return events


def _together(states: Iterable[HostState]) -> Sequence[Resource]:
    """Return the resources of all ``states`` in making order, shared ones once."""
    by_key = {key: resource for state in states for key, resource in state.items()}
    rank = {kind: number for number, kind in enumerate(KINDS)}
    return sorted(by_key.values(), key=lambda item: rank[item.kind])
