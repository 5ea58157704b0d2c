"""A server of libvirt's protocol that answers and does nothing: ``python -m bench.mute SOCKET``.

What a client needs for the same calls of it is the client's own time and the wire's.  One client
at a time; it says "ready" when it listens.
"""

from __future__ import annotations

import socket
import struct
import sys

_HEADER = struct.Struct(">IIIiIII")
_PROGRAM = 0x20008086
_REPLY = 1
_NETWORK = struct.pack(">I", 7) + b"bench-1\0" + bytes(16)

#: The results of the calls that have some, by number (``remote_protocol.x``).
_RESULTS = {
    46: _NETWORK,
    60: struct.pack(">i", 0),
    66: struct.pack(">II", 1, 0),
    110: struct.pack(">I", 4) + b"mute",
    406: _NETWORK + bytes(16),
}


def serve(client: socket.socket) -> None:
    """Answer the calls of one client until it goes."""
    waiting = b""
    while data := client.recv(65536):
        waiting += data
        while len(waiting) >= _HEADER.size:
            length, program, version, procedure, _, serial, _ = _HEADER.unpack_from(waiting)
            if len(waiting) < length:
                break
            waiting = waiting[length:]
            if program == _PROGRAM:
                result = _RESULTS.get(procedure, b"")
                size = _HEADER.size + len(result)
                head = _HEADER.pack(size, program, version, procedure, _REPLY, serial, 0)
                client.sendall(head + result)


def main() -> None:
    """Serve one client after the other."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen()
        print("ready", flush=True)
        while True:
            client, _ = listener.accept()
            with client:
                serve(client)


if __name__ == "__main__":
    main()
