"""Guests that get no address, because a DHCP range has none left.

dnsmasq alone knows of them, and says so in its log.  It is read where few addresses are left, and
nowhere else: the log has several lines for each lease, and most networks never have a shortage.
Some are left at best when it says that there is none: dnsmasq does not offer what answers a ping.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from uuid import UUID

from jackfield.diagnosis.ranges import ranges_left, words_of
from jackfield.engine.registry import Registry
from jackfield.engine.tidings import Tidings
from jackfield.engine.views import LeaseView
from jackfield.errors import JackfieldError
from jackfield.host.inotify import FileEvent, Inotify, Watch
from jackfield.model.address import Address

__all__ = ["Shortage"]

_FEW = 8
_PAUSE = 0.2
"""Seconds after which more is read: guests decide how much is written."""

_LONGEST = 1 << 16
_REMEMBERED = 16
_REFUSED = re.compile(rb"\) (\S+) no address(?:es)? available")
_WORDS = "DHCP had no address for "


@dataclasses.dataclass(slots=True, eq=False)
class _Log:
    """A log that is read from ``offset`` on.

    ``leases`` are those that there are, ``refused`` who got none lately and has
    none yet.
    """

    path: Path
    watch: Watch
    offset: int
    leases: frozenset[Address]
    refused: set[str | None] = dataclasses.field(default_factory=set)
    timer: asyncio.TimerHandle | None = None


class Shortage:
    """Has networks say that a guest got no address."""

    def __init__(
        self,
        registry: Registry,
        run_dir: Path,
        tidings: Tidings,
        later: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """Watch for the networks of ``registry``; ``later`` runs a coroutine as a task."""
        self._registry = registry
        self._directory = run_dir / "dnsmasq"
        self._tidings = tidings
        self._later = later
        self._inotify: Inotify | None = None
        self._logs: dict[UUID, _Log] = {}

    def open(self, inotify: Inotify) -> None:
        """Begin to watch with ``inotify``."""
        self._inotify = inotify

    def close(self) -> None:
        """Watch nothing any more."""
        for uuid in list(self._logs):
            self._forget(uuid)

    def leases_read(self, uuid: UUID, leases: Sequence[LeaseView]) -> None:
        """Take note of the leases that a network has now."""
        record = self._registry.networks.get(uuid)
        network = None if record is None else record.live
        addresses = frozenset(lease.address for lease in leases)
        least = _FEW + 1
        if network is not None:
            least = min((left for _, left in ranges_left(network, addresses, _FEW)), default=least)
        log = self._logs.get(uuid)
        if log is None:
            if network is not None and least <= _FEW:
                self._watch(uuid, addresses)
            return
        log.refused -= {lease.mac for lease in leases}
        is_other = log.leases != addresses
        log.leases = addresses
        if network is None or least > _FEW:
            self._forget(uuid)
        elif log.refused and not (least and is_other):
            return
        # Who was refused has one now, or may have one.
        log.refused.clear()
        if record is not None and (record.problem or "").startswith(_WORDS):
            record.problem = None

    def _watch(self, uuid: UUID, leases: frozenset[Address]) -> None:
        assert self._inotify is not None
        path = self._directory / str(uuid) / "log"
        with contextlib.suppress(JackfieldError, OSError):
            watch = self._inotify.watch_file(path, FileEvent.MODIFY, lambda _: self._written(uuid))
            self._logs[uuid] = _Log(path, watch, path.stat().st_size, leases)

    def _forget(self, uuid: UUID) -> None:
        log = self._logs.pop(uuid)
        log.watch.close()
        if log.timer is not None:
            log.timer.cancel()

    def _written(self, uuid: UUID) -> None:
        log = self._logs.get(uuid)
        if log is not None and log.timer is None:
            log.timer = asyncio.get_running_loop().call_later(_PAUSE, self._read, uuid)

    def _read(self, uuid: UUID) -> None:
        log = self._logs[uuid]
        log.timer = None
        try:
            with log.path.open("rb") as file:
                size = file.seek(0, 2)
                # It is cut when it is long.
                begin = log.offset if log.offset <= size else 0
                file.seek(max(begin, size - _LONGEST))
                text = file.read(_LONGEST)
        except OSError:
            # It has gone with its network.
            self._forget(uuid)
            return
        log.offset = size
        refused = [found.decode("ascii", "replace").lower() for found in _REFUSED.findall(text)]
        record = self._registry.networks.get(uuid)
        if not refused or record is None or record.live is None or not record.active:
            return
        log.refused = set(refused[-_REMEMBERED:])
        if record.problem is None:
            ranges = "; ".join(
                words_of(subnet) for subnet, _ in ranges_left(record.live, log.leases, _FEW)
            )
            self._later(
                self._tidings.problem(
                    record,
                    f"{_WORDS}{refused[-1]}: what {ranges} has is "
                    "leased, reserved or used without a lease; a longer range, or a shorter time "
                    "of its leases, helps",
                )
            )
