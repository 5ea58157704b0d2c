"""A client of libvirt's protocol that does as little as can be: two frames out, two frames in."""

from __future__ import annotations

import struct
import time
import uuid
from pathlib import Path

from jackfield.rpc.frame import REMOTE, VERSION, Frame, Status, Type
from jackfield.rpc.procedures import PROCEDURES, NetworkRef, PortRef
from jackfield.rpc.xdr import pack
from tests.rpc.client import NUMBERS, RawClient

__all__ = ["BareClient"]

_PORT = """<networkport>
  <uuid>{port}</uuid>
  <owner>
    <name>guest</name>
    <uuid>{owner}</uuid>
  </owner>
  <mac address='{mac}'/>
</networkport>
"""
_OK = struct.pack(">i", Status.OK)


class BareClient:
    """A connection whose frames are made before the clock starts."""

    def __init__(self, path: Path, network: str) -> None:
        """Connect to the socket at ``path`` and find a network."""
        self._client = RawClient(path).open()
        self._network: NetworkRef = self._client.lookup(network)

    def port(self, mac: str) -> float:
        """Create a port and delete it; return the seconds it took."""
        port = uuid.uuid4()
        document = _PORT.format(port=port, owner=uuid.uuid4(), mac=mac)
        calls = (
            self._frame("port_create", self._network, document, 0),
            self._frame("port_delete", PortRef(self._network, port), 0),
        )
        stream = self._client.socket
        took = 0.0
        for call in calls:
            begin = time.perf_counter()
            stream.sendall(call)
            reply = stream.recv(65536)
            took += time.perf_counter() - begin
            if reply[24:28] != _OK:
                raise RuntimeError(f"refused: {reply!r}")
        return took

    def _frame(self, name: str, *arguments: object) -> bytes:
        number = NUMBERS[name]
        self._client.serial += 1
        payload = pack(PROCEDURES[number].args, arguments)
        frame = Frame(REMOTE, VERSION, number, Type.CALL, self._client.serial, Status.OK, payload)
        return frame.encode()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> BareClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
