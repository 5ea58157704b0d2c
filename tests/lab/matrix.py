"""Packets from everybody to everybody: who reaches whom, and whom the other then sees.

A *place* is a namespace with a name.  Every place has a mirror that answers UDP and TCP with what
it was sent and notes the source it saw, so one probe tells what became of it on the way there and
on the way back.  All probes of a run are under way at the same time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal

from tests.lab.namespace import Namespace
from tests.lab.packets import family_of, send_forged_udp, source_as_asked, tell_targets

__all__ = [
    "ANY",
    "HOST",
    "LOST",
    "NOTHING",
    "OWN",
    "Forgery",
    "Mirrors",
    "Probe",
    "differences",
    "parse_grid",
]

PORT = 7777

NOTHING = "-"
"""Nothing arrives."""
LOST = "lost"
"""It arrives, but the answer does not."""
OWN = "own"
"""It arrives with the sender's own address, and is answered."""
HOST = "host"
"""It arrives with an address of the host in place of the sender's, and is answered."""
ANY = "."
"""Not asked."""

#: Seconds for everything that should arrive, and then for what should not.
LIMIT, GRACE = 10.0, 0.5

_numbers = itertools.count(1)


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Probe:
    """A packet from a place to an address; ``target`` is what the address is called."""

    source: str
    target: str
    address: str
    protocol: Literal["udp", "tcp"] = "udp"

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.address else 4


@dataclasses.dataclass(frozen=True, slots=True)
class Forgery:
    """A datagram from a place that claims to come from ``claimed``."""

    source: str
    claimed: str
    address: str


def parse_grid(text: str) -> dict[tuple[str, str], str]:
    """Return the cells of a table by ``(row, column)``; its first line names the columns."""
    head, *lines = (line.split() for line in text.strip().splitlines())
    cells: dict[tuple[str, str], str] = {}
    for row, *values in lines:
        for column, value in zip(head[1:], values, strict=True):
            cells[row, column] = value
    return cells


class Mirrors:
    """A mirror in each of some places, served by one thread of the test process."""

    def __init__(self, places: Mapping[str, Namespace], host_addresses: Iterable[str]) -> None:
        """Listen in every place; ``host_addresses`` are those that count as the host."""
        self._places = dict(places)
        self._host_addresses = frozenset(host_addresses)
        self._arrived: dict[bytes, str] = {}
        self._selector = selectors.DefaultSelector()
        self._stop, stopped = socket.socketpair()
        self._selector.register(stopped, selectors.EVENT_READ, None)
        for place in self._places.values():
            with place.entered():
                for family in (socket.AF_INET, socket.AF_INET6):
                    self._listen(family)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._stop.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def __enter__(self) -> Mirrors:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Asking

    def probe(self, expected: Mapping[Probe, str]) -> dict[Probe, str]:
        """Send all probes at once and return what became of each.

        ``expected`` tells only which answers to wait for, so that a busy machine has its time.
        What is not expected has as long as all that is, and half a second more.
        """
        with _Asking(self._places, expected) as asking:
            waiting = {probe for probe, value in expected.items() if value in (OWN, HOST)}
            one_way = {probe for probe, value in expected.items() if value == LOST}
            end = time.monotonic() + LIMIT
            while time.monotonic() < end and (
                waiting - asking.answers.keys()
                or any(asking.payload(probe) not in self._arrived for probe in one_way)
            ):
                asking.send_again()
                asking.listen(1.0, until=lambda: not waiting - asking.answers.keys())
            asking.listen(GRACE, until=lambda: False)
            return {probe: self._outcome(probe, asking) for probe in expected}

    def _outcome(self, probe: Probe, asking: _Asking) -> str:
        source = self._arrived.get(asking.payload(probe))
        if source is None:
            return NOTHING
        if probe not in asking.answers:
            return LOST
        if source == asking.answers[probe]:
            return OWN
        return HOST if source in self._host_addresses else source

    def forge(self, forgeries: Iterable[Forgery], *, expected: set[Forgery]) -> set[Forgery]:
        """Send the forgeries and return those that arrived; ``expected`` are waited for."""
        payloads = {one: _payload() for one in forgeries}
        for one, payload in payloads.items():
            # A place without a route there sends nothing, which is no less an outcome.
            with contextlib.suppress(OSError):
                send_forged_udp(self._places[one.source], one.claimed, one.address, PORT, payload)
        end = time.monotonic() + LIMIT
        while time.monotonic() < end and any(
            payloads[one] not in self._arrived for one in expected
        ):
            time.sleep(0.02)
        time.sleep(GRACE)
        return {one for one, payload in payloads.items() if payload in self._arrived}

    # Answering

    def _listen(self, family: socket.AddressFamily) -> None:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            one = socket.socket(family, kind)
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if kind == socket.SOCK_DGRAM:
                tell_targets(one)
            one.bind(("", PORT))
            handler: Callable[[socket.socket], None] = self._datagram
            if kind == socket.SOCK_STREAM:
                one.listen(512)
                handler = self._accept
            self._selector.register(one, selectors.EVENT_READ, handler)

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                # A reject of the answer is told at the next call.
                with contextlib.suppress(OSError):
                    key.data(key.fileobj)

    def _datagram(self, one: socket.socket) -> None:
        payload, ancillary, _flags, sender = one.recvmsg(2000, 256)
        self._arrived[payload] = sender[0]
        one.sendmsg([payload], source_as_asked(ancillary), 0, sender)

    def _accept(self, listener: socket.socket) -> None:
        stream, (address, *_) = listener.accept()
        stream.setblocking(False)

        def echo(one: socket.socket) -> None:
            try:
                payload = one.recv(2000)
            except OSError:
                payload = b""
            if not payload:
                self._selector.unregister(one)
                one.close()
                return
            self._arrived[payload] = address
            one.sendall(payload)

        self._selector.register(stream, selectors.EVENT_READ, echo)


class _Asking:
    """The askers' side of a run: one UDP socket for each source and target family, and TCP."""

    def __init__(self, places: Mapping[str, Namespace], probes: Iterable[Probe]) -> None:
        self.answers: dict[Probe, str] = {}
        self._payloads = {probe: _payload() for probe in probes}
        self._by_payload = {payload: probe for probe, payload in self._payloads.items()}
        self._places = places
        self._sockets: dict[Probe, socket.socket] = {}
        self._selector = selectors.DefaultSelector()

    def payload(self, probe: Probe) -> bytes:
        """Return the words of a probe, by which it is known again."""
        return self._payloads[probe]

    def _open(self, probe: Probe) -> None:
        kind = socket.SOCK_STREAM if probe.protocol == "tcp" else socket.SOCK_DGRAM
        one = socket.socket(family_of(probe.address), kind)
        one.setblocking(False)
        # Connected, a socket has an address of its own that can be compared.
        error = one.connect_ex((probe.address, PORT))
        if error not in (0, errno.EINPROGRESS):
            one.close()
            return
        self._sockets[probe] = one
        events = selectors.EVENT_READ
        if kind == socket.SOCK_STREAM:
            events |= selectors.EVENT_WRITE
        self._selector.register(one, events, probe)

    def send_again(self) -> None:
        """Send every datagram, and try every connection, that has not been answered."""
        by_source: dict[str, list[Probe]] = {}
        for probe in self._payloads.keys() - self._sockets.keys():
            by_source.setdefault(probe.source, []).append(probe)
        for source, missing in by_source.items():
            with self._places[source].entered():
                for probe in missing:
                    self._open(probe)
        for probe, one in self._sockets.items():
            if probe.protocol == "udp" and probe not in self.answers:
                # A reject of the last one is told here.
                for _ in range(2):
                    with contextlib.suppress(OSError):
                        one.send(self._payloads[probe])
                        break

    def listen(self, seconds: float, *, until: Callable[[], bool]) -> None:
        """Collect answers for so long, or until then."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not until():
            for key, mask in self._selector.select(min(left, 0.05)):
                self._hear(key.data, key.fileobj, mask)  # type: ignore[arg-type]

    def _hear(self, probe: Probe, one: socket.socket, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                one.send(self._payloads[probe])
                self._selector.modify(one, selectors.EVENT_READ, probe)
                return
            payload = one.recv(2000)
        except BlockingIOError:
            return
        except OSError:
            payload = b""
        if not payload:
            if probe.protocol == "tcp":
                # Refused; the next round tries again.
                self._selector.unregister(one)
                self._sockets.pop(probe).close()
        elif self._by_payload.get(payload) == probe:
            self.answers[probe] = one.getsockname()[0]

    def __enter__(self) -> _Asking:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for one in self._sockets.values():
            one.close()


def _payload() -> bytes:
    """Return words that no other probe has."""
    return f"{os.getpid()}-{next(_numbers)}".encode()


def differences(expected: Mapping[Probe, str], actual: Mapping[Probe, str]) -> Iterator[str]:
    """Yield a line for each probe that did not go as expected."""
    for probe, value in expected.items():
        if actual[probe] != value:
            yield (
                f"{probe.source} → {probe.target} ({probe.address}, {probe.protocol}): "
                f"expected {value}, was {actual[probe]}"
            )
