"""libvirt's protocol over TLS: clients are who their certificates say.

A client's certificate must be signed by the authority, and its distinguished name be on the list
of those allowed, where there is one.  The server then sends one byte, 1, to say that it accepts
the client, and the protocol goes on as on a UNIX socket (``virNetServerClient`` and
``virNetClient``; https://libvirt.org/tlscerts.html).
"""

from __future__ import annotations

import asyncio
import errno
import fnmatch
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

from jackfield.access import Caller
from jackfield.errors import ConfigurationError
from jackfield.rpc.credentials import Credentials

__all__ = ["Admission", "Gate", "is_allowed", "listen_tls", "names_of"]

log = logging.getLogger("jackfield.rpc")

_HANDSHAKE_LIMIT = 10.0  # seconds that a client has until its certificate is checked

_HANDSHAKES = 256
"""How many may be under way at once.

Anybody who reaches the port can begin one, and each is an open file.  One takes milliseconds, so
the first of too many is one that waits for nothing.
"""

_ACCEPTED = b"\1"
_IP_FREEBIND = 15  # linux/in.h

# RFC 4514 section 3, and what GnuTLS calls the rest.
_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "emailAddress": "EMAIL",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
_SPECIAL = str.maketrans({character: f"\\{character}" for character in ',+"\\<>;'})


def listen_tls(address: str, port: int) -> socket.socket:
    """Return a socket that listens at ``address``, ``*`` for all of both families.

    The address may come later than we do, as after a boot.
    """
    everywhere = address == "*"
    family = socket.AF_INET6 if everywhere or ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not everywhere)
        _bind(listener, "" if everywhere else address, port)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"libvirt_tls: cannot listen at {address}, port {port}: {error.strerror}",
            hint=f"`ss -ltnp sport = {port}` shows who does; libvirt_tls may name another port"
            if error.errno == errno.EADDRINUSE
            else None,
        ) from error
    listener.setblocking(False)
    return listener


def _bind(listener: socket.socket, address: str, port: int) -> None:
    try:
        listener.bind((address, port))
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        log.warning("libvirt_tls: this host does not have the address %s yet", address)
        listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        listener.bind((address, port))


def names_of(certificate: dict[str, Any]) -> tuple[str, str]:
    """Return the distinguished name in a certificate (``SSLSocket.getpeercert``).

    First in the certificate's order, then reversed as RFC 4514 has it: tools print either.
    """
    parts = [
        "+".join(
            f"{_SHORT.get(name, name)}={str(value).translate(_SPECIAL)}" for name, value in rdn
        )
        for rdn in certificate.get("subject", ())
    ]
    return ",".join(parts), ",".join(reversed(parts))


def is_allowed(names: Sequence[str], patterns: Sequence[str] | None) -> bool:
    """Return whether one of ``names`` matches one of ``patterns``, where ``*`` and ``?`` stand.

    Without a list everybody is allowed.
    """
    if patterns is None:
        return True
    # A bracket stands for itself.
    plain = [pattern.replace("[", "[[]") for pattern in patterns]
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in plain)


class Admission(asyncio.Protocol):
    """Shakes hands with who connects, and lets him through to a ``Gate``; tells of who fails."""

    #: The oldest first.
    _under_way: ClassVar[dict[asyncio.Task[None], asyncio.Transport]] = {}

    def __init__(self, credentials: Credentials, gate: Gate) -> None:
        """Check who connects by ``credentials``."""
        self._credentials = credentials
        self._gate = gate

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake, before anything is read."""
        stream = cast("asyncio.Transport", transport)
        stream.pause_reading()
        if len(self._under_way) >= _HANDSHAKES:
            oldest, theirs = next(iter(self._under_way.items()))
            where = _address_of(theirs)
            log.debug("TLS: too many handshakes at once; that with %s is dropped", where)
            oldest.cancel()
            # A handshake that has begun would do so; of many that connect at once, none has.
            theirs.abort()
            self._under_way.pop(oldest)
        task = asyncio.get_running_loop().create_task(self._shake_hands(stream))
        self._under_way[task] = stream
        task.add_done_callback(lambda ended: self._under_way.pop(ended, None))

    async def _shake_hands(self, stream: asyncio.Transport) -> None:
        where = _address_of(stream)
        try:
            encrypted = await asyncio.get_running_loop().start_tls(
                stream,
                self._gate,
                self._credentials.context,
                server_side=True,
                ssl_handshake_timeout=_HANDSHAKE_LIMIT,
            )
        except ssl.SSLCertVerificationError as error:
            log.warning("TLS: certificate of %s refused: %s", where, error.verify_message)
        except ssl.SSLError as error:
            reason = (error.reason or str(error)).replace("_", " ").lower()
            log.warning("TLS: no handshake with %s: %s", where, reason)
        except OSError as error:
            # Who looks whether the port is open is no news.
            log.debug("TLS: no handshake with %s: %s", where, error)
        else:
            if encrypted is not None:
                self._gate.connection_made(encrypted)


class Gate(asyncio.Protocol):
    """What a client meets until its certificate is checked; then it is let in, or not."""

    def __init__(
        self, allowed: Sequence[str] | None, connect: Callable[[Caller], asyncio.BufferedProtocol]
    ) -> None:
        """Let those ``allowed`` in, to what ``connect`` makes for them."""
        self._allowed = allowed
        self._connect = connect

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Look at the client's certificate, which the handshake has verified."""
        stream = cast("asyncio.Transport", transport)
        certificate: dict[str, Any] = transport.get_extra_info("peercert") or {}
        names = names_of(certificate)
        where = _address_of(stream)
        if not certificate or not is_allowed(names, self._allowed):
            log.warning("%s at %s is not on tls_allowed_dn_list: refused", names[0], where)
            stream.abort()
            return
        caller = Caller(uid=-1, gid=-1, pid=0, certificate=f"{names[0]} at {where}")
        protocol = self._connect(caller)
        stream.set_protocol(protocol)
        stream.write(_ACCEPTED)
        protocol.connection_made(stream)


def _address_of(stream: asyncio.Transport) -> str:
    """Return the address of who connects; one of IPv4 as such, whatever socket it came by."""
    peer = stream.get_extra_info("peername")
    if not peer:
        return "an unknown address"
    address = ipaddress.ip_address(peer[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
