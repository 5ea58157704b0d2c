"""Packets at full speed and on time: a worker (``bench.worker``) inside a guest.

The flood is ``sendmmsg(2)`` through ctypes, 64 datagrams a call on one connected socket, so that
Python is a small part of what a packet costs; over veth the kernel carries each packet to the
other end within the call.
"""

from __future__ import annotations

import ctypes
import itertools
import socket
import struct
import threading
import time

from bench.worker import serve

PORT = 9
ECHO_PORT = 7
#: 14 + 20 + 8 bytes of headers and this make the shortest Ethernet frame, without its checksum.
PAYLOAD = bytes(22)
BATCH = 64


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """``struct mmsghdr``: ``struct msghdr`` and how much was sent."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("iovec", ctypes.POINTER(_Iovec)),
        ("iovec_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint),
    )


def flood(address: str, seconds: float) -> tuple[int, float]:
    """Send as fast as possible; return how many packets were sent, and the seconds it took."""
    libc = ctypes.CDLL(None, use_errno=True)
    iovec = _Iovec(PAYLOAD, len(PAYLOAD))
    headers = (_Header * BATCH)()
    for header in headers:
        header.iovec, header.iovec_length = ctypes.pointer(iovec), 1
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flooding:
        flooding.connect((address, PORT))
        descriptor, call = flooding.fileno(), libc.sendmmsg
        begin = time.perf_counter()
        end = begin + seconds
        while (now := time.perf_counter()) < end:
            done = call(descriptor, headers, BATCH, 0)
            if done > 0:
                sent += done
    return sent, now - begin


class Train:
    """Numbered datagrams at a fixed interval to an echo server, and which came back."""

    def __init__(self) -> None:
        """Have no train under way."""
        self._ending = threading.Event()
        self._sent: list[float] = []
        self._back: dict[int, float] = {}

    def start(self, address: str, interval: float) -> None:
        """Begin to send every ``interval`` seconds."""
        self._ending.clear()
        self._sent, self._back = [], {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.connect((address, ECHO_PORT))
        self._threads = [
            threading.Thread(target=self._send, args=(interval,)),
            threading.Thread(target=self._receive),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> dict[str, float]:
        """End it; return the packets sent and lost, and the longest time without an echo (s)."""
        self._ending.set()
        for thread in self._threads:
            thread.join()
        self._socket.close()
        arrivals = sorted(self._back.values())
        gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
        return {
            "sent": len(self._sent),
            "lost": len(self._sent) - len(self._back),
            "longest_gap": max(gaps, default=0.0),
        }

    def _send(self, interval: float) -> None:
        due = time.perf_counter()
        while not self._ending.is_set():
            self._socket.send(struct.pack("!I", len(self._sent)))
            self._sent.append(time.perf_counter())
            due += interval
            time.sleep(max(0.0, due - time.perf_counter()))

    def _receive(self) -> None:
        # What is under way when sending ends has a second to come back.
        self._socket.settimeout(1)
        while True:
            try:
                number = struct.unpack("!I", self._socket.recv(64))[0]
            except (TimeoutError, ConnectionError):
                if self._ending.is_set():
                    return
                continue
            self._back[number] = time.perf_counter()


if __name__ == "__main__":
    train = Train()
    serve({"flood": flood, "train": train.start, "stop": train.stop})
