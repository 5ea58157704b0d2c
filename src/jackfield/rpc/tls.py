"""libvirt's protocol over TLS: clients are who their certificates say.

A client's certificate must be signed by the authority, and its distinguished name be on the list
of those allowed, where there is one.  The server then sends one byte, 1, to say that it accepts
the client, and the protocol goes on as on a UNIX socket (``virNetServerClient`` and
``virNetClient``; https://libvirt.org/tlscerts.html).
"""

from __future__ import annotations

import asyncio
import fnmatch
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, cast

from jackfield.access import Caller
from jackfield.config import TlsConfig
from jackfield.errors import ConfigurationError

__all__ = [
    "HANDSHAKE_LIMIT",
    "Credentials",
    "Gate",
    "is_allowed",
    "listen_tls",
    "make_context",
    "names_of",
]

log = logging.getLogger("jackfield.rpc")

HANDSHAKE_LIMIT = 10.0
"""Seconds that a client has until its certificate is checked."""

_ACCEPTED = b"\1"

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


def make_context(config: TlsConfig) -> ssl.SSLContext:
    """Return the context of a server that asks for certificates.

    Raises ``ConfigurationError``, which names the file at fault.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    # libvirt's client takes what comes first after the handshake for the byte that accepts it.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    path = config.cert_file
    try:
        for path in (config.ca_file, config.cert_file, config.key_file):
            path.open("rb").close()
        path = config.key_file
        context.load_cert_chain(config.cert_file, config.key_file)
        path = config.ca_file
        context.load_verify_locations(path)
        if config.crl_file.is_file():
            path = config.crl_file
            context.load_verify_locations(path)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or str(error)
        raise ConfigurationError(
            f"cannot serve TLS: {path}: {reason}",
            hint="see https://libvirt.org/tlscerts.html, or name other files with tls_ca_file, "
            "tls_cert_file, tls_key_file and tls_crl_file",
        ) from error
    return context


class Credentials:
    """What the server shows and whom it trusts; ``context`` is for ``create_server``.

    The authority's list of revoked certificates (RFC 5280) is as new as its file.  Without one
    nobody is revoked.  Once there was one, clients need a list that is in force: one that is out of
    date lets nobody in, as with libvirt's daemon.
    """

    def __init__(self, config: TlsConfig) -> None:
        """Read the files; ``ConfigurationError`` names the one at fault."""
        self._config = config
        self._seen = self._look()
        self.context = self._current = make_context(config)
        # A list that is added to another counts only if it is newer by its own word, and none is
        # ever taken away, so a changed file makes a new context; a handshake takes it here.
        self.context.sni_callback = self._choose

    def refresh(self) -> None:
        """Read the files again if the list has changed; what cannot be read changes nothing."""
        seen = self._look()
        if seen is None or seen == self._seen:
            return
        self._seen = seen
        try:
            self._current = make_context(self._config)
        except ConfigurationError as error:
            log.error("%s: what was revoked before stays so", error.message)
            return
        self.context.verify_flags = self._current.verify_flags

    def _look(self) -> tuple[int, int, int] | None:
        """Return what tells the list's file from another, ``None`` without one."""
        try:
            status = self._config.crl_file.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _choose(
        self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str, _context: ssl.SSLContext
    ) -> None:
        connection.context = self._current


def listen_tls(address: str, port: int) -> socket.socket:
    """Return a socket that listens at ``address``, ``*`` for all of both families."""
    everywhere = address == "*"
    try:
        family = socket.AF_INET6 if everywhere or ":" in address else socket.AF_INET
        listener = socket.create_server(
            ("" if everywhere else address, port),
            family=family,
            backlog=1024,
            dualstack_ipv6=everywhere,
        )
    except OSError as error:
        raise ConfigurationError(
            f"libvirt_tls: cannot listen at {address}, port {port}: {error.strerror}"
        ) from error
    listener.setblocking(False)
    return listener


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
        peer = transport.get_extra_info("peername")
        names = names_of(certificate)
        where = peer[0] if peer else "an unknown address"
        if not certificate or not is_allowed(names, self._allowed):
            log.warning("%s at %s is not on tls_allowed_dn_list: refused", names[0], where)
            stream.abort()
            return
        caller = Caller(uid=-1, gid=-1, pid=0, certificate=f"{names[0]} at {where}")
        protocol = self._connect(caller)
        stream.set_protocol(protocol)
        stream.write(_ACCEPTED)
        protocol.connection_made(stream)
