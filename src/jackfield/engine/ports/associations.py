"""Ports that an external switch has to know (802.1Qbg): asked for, waited for, watched.

A switch takes its time, or never answers.  So this is no work of the kernel thread: it is done on
a thread of its own in questions that take no time, between which others have their turn, and the
waiting is done on the event loop.

lldpad forgets everything when it is started anew, and a switch may end an association by itself.
Both show when it is asked, which is done every other second while there is a port to ask for;
what is gone is asked for again.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar
from uuid import UUID

from jackfield.engine.records import PortRecord
from jackfield.engine.registry import Registry
from jackfield.engine.tidings import Tidings
from jackfield.errors import HostError, JackfieldError, MissingFeature, NotFound
from jackfield.host.netlink.route import RouteSocket
from jackfield.host.vdp.lldpad import CALM, Lldpad, NotReady, find_station, knows
from jackfield.host.vdp.message import SUCCESS, Request, Shown, describe_response
from jackfield.model.values import InterfaceName
from jackfield.state.association import SwitchAssociation

__all__ = ["Associations"]

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

_INTERVAL = 2.0
"""Seconds between two looks at what is associated."""

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.25
"""Seconds between two questions about one port, growing: most switches answer at once."""

_AGAIN = 1.0
"""Seconds after which a de-association that nothing came of is asked for again.

lldpad never sends one that it is asked for while the association is under way.
"""

_RETRY_PAUSES = (0.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds before an association that was lost is tried for again, growing."""


class Refused(HostError):
    """The switch does not want the guest, and has said so."""


@dataclasses.dataclass(slots=True)
class _Watched:
    """A port that the switch knows, or should: ``lost`` since it was last seen there."""

    port: PortRecord
    item: SwitchAssociation
    lost: bool = False
    failures: int = 0
    restoring: asyncio.Task[None] | None = None


class Associations:
    """Associates and de-associates ports, and keeps associated what is."""

    def __init__(
        self,
        registry: Registry,
        tidings: Tidings,
        later: Callable[[Coroutine[None, None, None]], asyncio.Task[None]],
        timeout: float,
        lldpad: Lldpad | None = None,
    ) -> None:
        """Tell problems through ``tidings``; a switch has ``timeout`` seconds to answer."""
        self._registry = registry
        self._tidings = tidings
        self._later = later
        self._timeout = timeout
        self._lldpad = lldpad or Lldpad()
        self._executor = ThreadPoolExecutor(1, "lldpad")
        self._watched: dict[UUID, _Watched] = {}
        self._watching: asyncio.Task[None] | None = None
        # The last response since the last request, for what is ours.  lldpad shows one that ends
        # something once, to whoever asks first: it is kept for who waits for it.
        self._responses: dict[UUID, int | None] = {}

    def close(self) -> None:
        """Ask no more."""
        for task in (self._watching, *(one.restoring for one in self._watched.values())):
            if task is not None:
                task.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def check(self) -> None:
        """Raise ``MissingFeature`` if there is no lldpad through which to reach a switch."""
        await self._run(self._lldpad.require)

    async def associate(self, item: SwitchAssociation) -> None:
        """Return when the switch has taken the port in; raise what it says, or that it does not.

        Until the limit nothing is final but a refusal: an uplink that has just been brought up
        has to find its switch first, and a frame may be lost.
        """
        problem = _Problem(HostError("lldpad has not answered", hint="systemctl restart lldpad"))
        try:
            async with asyncio.timeout(self._timeout):
                await self._associate(item, problem)
        except TimeoutError:
            raise _in_time(item, self._timeout, problem.last) from None

    async def _associate(self, item: SwitchAssociation, problem: _Problem) -> None:
        # What was refused before is in the way until somebody has seen it.
        await self._run(self._look, item.link)
        while True:
            try:
                await self._run(self._tell, item, Request.ASSOCIATE)
                problem.last = None
                await self._answered(item)
                return
            except (NotReady, MissingFeature) as error:
                problem.last = error
            except LookupError:
                # lldpad has given up; asked again it tries again.
                pass
            await asyncio.sleep(_LONGEST_PAUSE)

    async def _answered(self, item: SwitchAssociation) -> None:
        """Return when lldpad says twice that the switch has the port.

        Once may be the end of what was before.  ``LookupError`` when lldpad does not know it any
        more, ``Refused`` when the switch does not want it.
        """
        pause, agreed, missing = _FIRST_PAUSE, 0, 0
        while agreed < 2:
            shown = await self._run(self._look, item.link)
            number = self._responses.get(item.instance)
            if number:
                raise _refusal(item, number)
            missing = missing + 1 if shown.lacks(item.instance) else 0
            if missing == 2:
                raise LookupError
            # Of one that lldpad has no room to show there is nothing to be learned.
            response = shown.responses.get(item.instance, SUCCESS)
            agreed = agreed + 1 if not missing and response == SUCCESS else 0
            if not agreed:
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)

    async def dissociate(self, items: Iterable[SwitchAssociation]) -> None:
        """Have the switch forget ports, and wait until it has; what fails is told in the log.

        A switch that does not answer keeps nobody from unplugging.
        """
        await asyncio.gather(*(self._dissociate(item) for item in items))

    async def _dissociate(self, item: SwitchAssociation) -> None:
        watched = self._watched.pop(item.instance, None)
        if watched is not None and watched.restoring is not None:
            watched.restoring.cancel()
        try:
            async with asyncio.timeout(self._timeout):
                if not await self._run(knows, lambda: self._look(item.link), item.instance):
                    return
                while not await self._forgotten(item):
                    pass
            confirmed = self._responses.get(item.instance) == SUCCESS
        except TimeoutError:
            confirmed = False
        except JackfieldError as error:
            log.warning("VSI instance %s could not be de-associated: %s", item.instance, error)
            return
        finally:
            self._responses.pop(item.instance, None)
        if not confirmed:
            log.warning(
                "the switch at %s has not confirmed that VSI instance %s is gone",
                item.link,
                item.instance,
            )
            # The uplink may go down with its last port, and lldpad must not be sending then.
            await asyncio.sleep(CALM)

    async def _forgotten(self, item: SwitchAssociation) -> bool:
        """Ask for a port to be forgotten, and return whether it was before it is time to again."""
        await self._run(self._tell, item, Request.DISASSOCIATE)
        end, pause, missing = asyncio.get_running_loop().time() + _AGAIN, _FIRST_PAUSE, 0
        shown = await self._run(self._look, item.link)
        while asyncio.get_running_loop().time() < end:
            # Twice: an answer that shows the end of one may leave another out.
            missing = missing + 1 if shown.lacks(item.instance) else 0
            if missing == 2:
                return True
            if not missing:
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)
            shown = await self._run(self._look, item.link)
        # One that lldpad has no room to show is believed to be gone by now.
        return item.instance not in shown.responses

    # What is associated stays so

    def watch(self, port: PortRecord, items: Iterable[SwitchAssociation]) -> None:
        """See to it that the switch goes on knowing ``port``."""
        for item in items:
            self._watched[item.instance] = _Watched(port, item)
            self._responses.setdefault(item.instance)
        if self._watched and (self._watching is None or self._watching.done()):
            self._watching = self._later(self._watch())

    async def _watch(self) -> None:
        while self._watched:
            by_link: dict[InterfaceName, list[_Watched]] = {}
            for one in self._watched.values():
                by_link.setdefault(one.item.link, []).append(one)
            for link, group in by_link.items():
                await self._see(link, group)
            await asyncio.sleep(_INTERVAL)

    async def _see(self, link: InterfaceName, group: Sequence[_Watched]) -> None:
        """Look at one uplink's ports, twice, and have those asked for again that are lost."""
        why = f"the switch at {link}, or lldpad, has ended it"
        shown: list[Shown] = []
        try:
            shown = [await self._run(self._look, link) for _ in range(2)]
        except (MissingFeature, NotFound) as error:
            why = error.message
        except JackfieldError as error:
            # Nothing is known; lldpad may be busy with what a switch has ended.
            log.warning("cannot see what is associated at %s: %s", link, error)
            return
        for one in group:
            instance = one.item.instance
            if self._watched.get(instance) is not one or one.restoring is not None:
                continue
            number = self._responses.get(instance)
            if not number and shown and not all(look.lacks(instance) for look in shown):
                continue
            if number:
                why = f"the switch says: {describe_response(number)}"
            one.restoring = self._later(self._restore(one, why))

    async def _restore(self, one: _Watched, why: str) -> None:
        """Ask for an association that was lost, after a pause when that has failed before."""
        record = self._registry.networks.get(one.port.network)
        begin = f"port {one.port.uuid} is not associated with the switch at {one.item.link}: "
        try:
            if record is not None and not one.lost:
                await self._tidings.problem(record, begin + why)
            one.lost = True
            await asyncio.sleep(_RETRY_PAUSES[min(one.failures, len(_RETRY_PAUSES) - 1)])
            await self.associate(one.item)
        except JackfieldError as error:
            one.failures += 1
            if record is not None and record.problem != begin + error.message:
                await self._tidings.problem(record, begin + error.message)
        else:
            one.lost, one.failures = False, 0
            if record is not None:
                if (record.problem or "").startswith(begin):
                    record.problem = None
                await self._tidings.repaired(
                    record, f"port {one.port.uuid} is associated with the switch again"
                )
        finally:
            one.restoring = None

    # On the thread, one at a time

    async def _run(self, job: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a job on the thread; what was begun before, also by who gave up, ends before."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: job(*args, **kwargs))

    def _tell(self, item: SwitchAssociation, request: Request) -> None:
        with contextlib.closing(RouteSocket()) as route:
            station = find_station(route, item.link)
        self._responses[item.instance] = None
        self._lldpad.tell(station, item, request)

    def _look(self, link: InterfaceName) -> Shown:
        with contextlib.closing(RouteSocket()) as route:
            station = find_station(route, link)
        shown = self._lldpad.look(station)
        for instance, response in shown.responses.items():
            if response is not None and instance in self._responses:
                self._responses[instance] = response
        return shown


@dataclasses.dataclass(slots=True)
class _Problem:
    """What kept the last attempt from being made, if anything did."""

    last: JackfieldError | None = None


def _refusal(item: SwitchAssociation, number: int) -> Refused:
    return Refused(
        f"the switch at {item.link} refuses VSI instance {item.instance} ({item.mac}) of type "
        f"{item.type_id}, version {item.type_version}, manager {item.manager}: it says "
        f"{describe_response(number)}",
        hint="see whether the virtualport's parameters are those of the switch's VSI manager",
    )


def _in_time(
    item: SwitchAssociation, seconds: float, problem: JackfieldError | None
) -> JackfieldError:
    """Return the error for a switch that has not answered."""
    if problem is None:
        return HostError(
            f"the switch at {item.link} has not answered within {seconds:g} s whether VSI instance "
            f"{item.instance} is associated",
            hint=(
                "is its VSI manager reachable for it? switch_timeout in the daemon's "
                "configuration says how long to wait"
            ),
        )
    return HostError(
        f"VSI instance {item.instance} could not be associated at {item.link} within "
        f"{seconds:g} s: {problem.message}",
        hint=problem.hint,
    )
