"""The driver of associations with an external switch.

What takes the switch's answer is waited for on the event loop
(``engine/ports/associations.py``), so a running daemon comes here only for what a crash has left.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from jackfield.errors import HostError, JackfieldError, MissingFeature, NotFound
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.vdp.lldpad import CALM, Lldpad, NotReady, find_station, knows
from jackfield.host.vdp.message import SUCCESS, Request
from jackfield.state.association import SwitchAssociation

__all__ = ["SwitchAssociationDriver"]

_LIMIT = 3.0
"""Seconds in which a switch has to confirm; lldpad gives up after as many."""

_AGAIN = 1.0
"""Seconds after which a request that nothing came of is made again.

One that meets an instance whose association is still under way is never sent (``vdp.c``).
"""

_PAUSE = 0.05


class SwitchAssociationDriver:
    """Asks for VSI instances to be associated, looks at them, and has them forgotten."""

    def __init__(self, lldpad: Lldpad) -> None:
        """Act through ``lldpad``."""
        self._lldpad = lldpad

    def observe(
        self,
        kernel: Kernel,
        resources: Sequence[SwitchAssociation],
        claimed: Collection[str] = frozenset(),
    ) -> dict[str, Observed]:
        """Return which instances the switch has; without lldpad, or a switch, it has none."""
        return {item.key: self._observed(kernel, item) for item in resources}

    def ensure(
        self,
        kernel: Kernel,
        resources: Sequence[SwitchAssociation],
        replaced: Mapping[str, SwitchAssociation],
    ) -> None:
        """Ask for the instances to be associated; does not wait for the switch."""
        for item in resources:
            station = find_station(kernel.route, item.link)
            self._lldpad.tell(station, item, Request.ASSOCIATE)

    def remove(self, kernel: Kernel, resources: Sequence[SwitchAssociation]) -> None:
        """De-associate the instances, and wait a moment for the switch to confirm it.

        Where there is no lldpad, NIC or switch there is nobody to be told: a switch forgets what
        is not renewed.
        """
        failures: list[JackfieldError] = []
        for item in resources:
            try:
                self._remove(kernel, item)
            except (MissingFeature, NotFound, NotReady):
                continue
            except JackfieldError as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup("could not de-associate every VSI instance", failures)

    def _remove(self, kernel: Kernel, item: SwitchAssociation) -> None:
        station = find_station(kernel.route, item.link)
        end = time.monotonic() + _LIMIT
        if not knows(lambda: self._lldpad.look(station), item.instance):
            return
        while time.monotonic() < end:
            self._lldpad.tell(station, item, Request.DISASSOCIATE)
            again = time.monotonic() + _AGAIN
            confirmed = False
            while time.monotonic() < again:
                # Twice: an answer that shows the end of one may leave another out.
                shown = [self._lldpad.look(station) for _ in range(2)]
                confirmed |= any(one.responses.get(item.instance) == SUCCESS for one in shown)
                if all(one.lacks(item.instance) for one in shown):
                    if not confirmed:
                        time.sleep(CALM)
                    return
                time.sleep(_PAUSE)
        time.sleep(CALM)
        raise HostError(
            f"the switch at {station.name} has not confirmed that VSI instance {item.instance} "
            "is gone"
        )

    def _observed(self, kernel: Kernel, item: SwitchAssociation) -> Observed:
        try:
            station = find_station(kernel.route, item.link)
            response = self._lldpad.look(station).responses.get(item.instance)
        except (MissingFeature, NotFound):
            return ABSENT
        if response != SUCCESS:
            return ABSENT
        return Observed(presence=Presence.OURS, resource=item)
