"""A server that notes who spoke to it, and a TCP stream that notices every interruption."""

from __future__ import annotations

import contextlib
import dataclasses
import select
import socket
import struct
import threading
import time

from tests.lab.namespace import Namespace
from tests.lab.packets import destination, family_of, source_as_asked, tell_targets
from tests.lab.wait import wait_for

__all__ = ["EchoServer", "Seen", "TcpFlow", "go_on", "transfer", "transfers"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One datagram or connection that arrived: who it came from (``payload`` of datagrams)."""

    protocol: str
    address: str
    port: int
    payload: bytes = b""


class EchoServer:
    """Answers UDP and TCP of both families on all addresses of a namespace with what it got.

    A thread of the test process; answers leave from the address that was asked.
    """

    def __init__(self, where: Namespace, port: int = 7) -> None:
        """Listen on ``port`` at once."""
        self.port = port
        self._seen: list[Seen] = []
        self._sockets = contextlib.ExitStack()
        self._stop, self._stopped = socket.socketpair()
        self._udp: dict[socket.socket, None] = {}
        self._listeners: dict[socket.socket, None] = {}
        self._streams: dict[socket.socket, None] = {}
        for family, any_address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            udp = self._sockets.enter_context(where.socket(family, socket.SOCK_DGRAM))
            tcp = self._sockets.enter_context(where.socket(family, socket.SOCK_STREAM))
            for one in (udp, tcp):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                one.bind((any_address, port))
            tell_targets(udp)
            tcp.listen()
            self._udp[udp] = None
            self._listeners[tcp] = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def seen(self, protocol: str | None = None) -> list[Seen]:
        """Return what has arrived so far, of one ``protocol`` (``udp``, ``tcp``) or both."""
        return [one for one in list(self._seen) if protocol in (None, one.protocol)]

    def sources(self) -> set[str]:
        """Return the addresses that have spoken to the server so far."""
        return {one.address for one in list(self._seen)}

    def forget(self) -> None:
        """Forget what has arrived."""
        self._seen.clear()

    def close(self) -> None:
        """Stop serving."""
        self._stop.close()
        self._thread.join()
        for stream in self._streams:
            stream.close()
        self._sockets.close()
        self._stopped.close()

    def __enter__(self) -> EchoServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        while True:
            waiting = [self._stopped, *self._udp, *self._listeners, *self._streams]
            ready, _, _ = select.select(waiting, [], [])
            if self._stopped in ready:
                return
            for one in ready:
                with contextlib.suppress(OSError):
                    if one in self._udp:
                        self._answer_datagram(one)
                    elif one in self._listeners:
                        stream, (address, port, *_) = one.accept()
                        self._seen.append(Seen(protocol="tcp", address=address, port=port))
                        self._streams[stream] = None
                    else:
                        self._answer_stream(one)

    def _answer_datagram(self, udp: socket.socket) -> None:
        payload, ancillary, _flags, sender = udp.recvmsg(65535, 256)
        self._seen.append(Seen(protocol="udp", address=sender[0], port=sender[1], payload=payload))
        udp.sendmsg([payload], source_as_asked(ancillary), 0, sender)

    def _answer_stream(self, stream: socket.socket) -> None:
        try:
            data = stream.recv(65535)
        except OSError:
            data = b""
        if data:
            stream.sendall(data)
        else:
            del self._streams[stream]
            stream.close()


class TcpFlow:
    """A TCP connection that sends numbered records steadily and awaits each one's echo.

    The other end must be an ``EchoServer``.  ``close`` (or leaving the ``with``) ends it; then
    ``sent``, ``received``, ``longest_gap`` (seconds between two echoes) and ``error`` tell how
    it went.
    """

    def __init__(
        self, where: Namespace, address: str, port: int = 7, *, interval: float = 0.02
    ) -> None:
        """Connect within five seconds, or raise ``OSError``."""
        self.sent = 0
        self.received = 0
        self.longest_gap = 0.0
        self.error: str | None = None
        self._interval = interval
        self._ending = threading.Event()
        with where.entered():
            target = destination(address, port)
            self._socket = socket.socket(family_of(address), socket.SOCK_STREAM)
        self._socket.settimeout(5)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._socket.connect(target)
        except OSError:
            self._socket.close()
            raise
        self._thread = threading.Thread(target=self._flow, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the flow and wait for the last echo."""
        self._ending.set()
        self._thread.join()
        self._socket.close()

    def __enter__(self) -> TcpFlow:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _flow(self) -> None:
        last = time.monotonic()
        try:
            while not self._ending.wait(self._interval):
                record = struct.pack("!Q", self.sent)
                self._socket.settimeout(30)
                self._socket.sendall(record)
                self.sent += 1
                echo = b""
                while len(echo) < len(record):
                    data = self._socket.recv(len(record) - len(echo))
                    if not data:
                        raise ConnectionError("the connection was closed by the other end")
                    echo += data
                if echo != record:
                    raise ConnectionError(f"record {record!r} came back as {echo!r}")
                now = time.monotonic()
                self.longest_gap = max(self.longest_gap, now - last)
                last = now
                self.received += 1
        except OSError as error:
            self.error = f"{type(error).__name__}: {error}"


def go_on(flow: TcpFlow) -> None:
    """Wait until some more records have come back."""
    count = flow.received
    wait_for(lambda: flow.received > count + 3 or flow.error, 20, "the stream to go on")


def transfer(flows: list[tuple[Namespace, Namespace, str]], seconds: float) -> int:
    """Return how many bytes arrive by TCP in so many seconds, over all ``(from, to, address)``."""
    return sum(transfers(flows, seconds))


def transfers(flows: list[tuple[Namespace, Namespace, str]], seconds: float) -> list[int]:
    """Return how many bytes arrive by TCP in so many seconds by each of ``(from, to, address)``."""
    amounts: dict[int, int] = {}

    def run(number: int) -> None:
        amounts[number] = _flow(*flows[number], seconds)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(flows))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(flows) == len(amounts)
    return [amounts[number] for number in range(len(flows))]


def _flow(sender: Namespace, receiver: Namespace, address: str, seconds: float) -> int:
    """Send as much as the way takes, and count what arrives from the first byte on."""
    with (
        receiver.socket(socket.AF_INET, socket.SOCK_STREAM) as listener,
        sender.socket(socket.AF_INET, socket.SOCK_STREAM) as source,
    ):
        listener.bind((address, 0))
        listener.listen()
        source.settimeout(10)
        source.connect(listener.getsockname())
        sink, _ = listener.accept()
        ended = threading.Event()

        def send() -> None:
            source.settimeout(0.2)
            while not ended.is_set():
                with contextlib.suppress(OSError):
                    source.send(bytes(65536))

        thread = threading.Thread(target=send)
        with sink:
            sink.settimeout(0.2)
            thread.start()
            received = 0
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                with contextlib.suppress(TimeoutError):
                    received += len(sink.recv(1 << 20))
            ended.set()
            thread.join()
    return received
