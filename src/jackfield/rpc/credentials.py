"""What the server shows and whom it trusts, as new as its files."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from jackfield.config import TlsConfig
from jackfield.errors import ConfigurationError

__all__ = ["Credentials", "make_context"]

log = logging.getLogger("jackfield.rpc")

_HINT = (
    "see https://libvirt.org/tlscerts.html, or name other files with tls_ca_file, "
    "tls_cert_file, tls_key_file and tls_crl_file"
)


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
    with_list = config.crl_file.is_file()
    _require_pem(config.ca_file, "certificate", "CERTIFICATE-----")
    _require_pem(config.cert_file, "certificate", "CERTIFICATE-----")
    key = _require_pem(config.key_file, "private key", "PRIVATE KEY-----")
    if "ENCRYPTED" in key:
        raise _fault(
            config.key_file,
            "it is encrypted, and nobody is there to type its passphrase",
            f"openssl pkey -in {config.key_file} writes it without one",
        )
    path = config.key_file
    try:
        context.load_cert_chain(config.cert_file, config.key_file)
        path = config.ca_file
        context.load_verify_locations(path)
        if with_list:
            path = config.crl_file
            _require_pem(path, "list of revoked certificates", "X509 CRL-----")
            context.load_verify_locations(path)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    except ssl.SSLError as error:
        reason = error.reason or "it cannot be read as what it should be"
        if error.reason == "KEY_VALUES_MISMATCH":
            reason = f"it is not the key of {config.cert_file}"
        raise _fault(path, reason) from error
    except OSError as error:
        raise _fault(path, error.strerror) from error
    return context


def _require_pem(path: Path, what: str, mark: str) -> str:
    """Return what is in a file that should hold a ``what``; ``mark`` ends the line before it."""
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except PermissionError as error:
        raise _fault(
            path,
            "permission denied",
            "as a service jackfieldd may read files and directories of root's own, or such as all "
            f"may read: chown root {path}",
        ) from error
    except OSError as error:
        raise _fault(path, error.strerror) from error
    if mark not in text:
        raise _fault(path, f"it holds no {what} in PEM form")
    return text


def _fault(path: Path, reason: str | None, hint: str = _HINT) -> ConfigurationError:
    return ConfigurationError(f"cannot serve TLS: {path}: {reason}", hint=hint)


class Credentials:
    """The files, and the context that they make, for one handshake after the other.

    The authority's list of revoked certificates (RFC 5280) is one of them.  Without one nobody is
    revoked.  Once there was one, clients need a list that is in force: one that is out of date lets
    nobody in, as with libvirt's daemon.
    """

    def __init__(self, config: TlsConfig) -> None:
        """Read the files; ``ConfigurationError`` names the one at fault."""
        self._config = config
        self._seen = self._look()
        self._context = make_context(config)
        self._judge()

    @property
    def context(self) -> ssl.SSLContext:
        """What the files say now; where they cannot be read, what they said before.

        A list that is added to another counts only if it is newer by its own word, and none is
        ever taken away, so changed files make a new context.
        """
        seen = self._look()
        if seen == self._seen:
            return self._context
        self._seen = seen
        try:
            if self._context.verify_flags & ssl.VERIFY_CRL_CHECK_LEAF and seen[-1] is None:
                raise _fault(self._config.crl_file, "it is gone")
            self._context = make_context(self._config)
        except ConfigurationError as error:
            log.error("%s: what was read before holds, and who was revoked stays so", error.message)
        else:
            log.info("TLS: certificates and the list of revoked ones were read again")
            self._judge()
        return self._context

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Return what tells each file from another, ``None`` for one that is not there."""
        config = self._config
        files = (config.ca_file, config.cert_file, config.key_file, config.crl_file)
        return tuple(map(_identity, files))

    def _judge(self) -> None:
        """Tell in the log if clients of the same authority will not believe us."""
        objection = _objection(self._context, self._config.ca_file)
        if objection is not None:
            log.error(
                "TLS: clients will refuse our certificate %s: %s",
                self._config.cert_file,
                objection,
            )


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _objection(context: ssl.SSLContext, authority: Path) -> str | None:
    """Return what a client that trusts ``authority`` has against a server's certificate.

    The two shake hands in memory; that the client has no certificate comes after this.
    """
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Clients know us by one of our names, which they compare themselves.
    theirs.check_hostname = False
    theirs.load_verify_locations(authority)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = theirs.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
    return None
