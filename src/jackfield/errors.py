"""Every error that Jackfield raises on purpose.

The message of an error says what failed, on which object, and why; ``hint`` says what to do
about it where there is something to do.  Each class has one libvirt error code (``virErrorNumber``
in libvirt's ``virterror.h``), one HTTP status and one exit status of the command line::

    JackfieldError
    ├── DocumentError              a text is not a document we can read
    │   ├── SyntaxDocumentError    not well-formed XML or JSON
    │   └── SchemaDocumentError    refused by the RELAX NG schema
    ├── InvalidRequest             the request contradicts itself or the documentation
    │   ├── RequestTooLarge        its body is longer than any document we read
    │   ├── UnsupportedConfiguration  the document asks for what cannot be combined
    │   ├── UnsupportedOperation   this kind of thing has no such operation
    │   └── UsageError             the command line is wrong
    ├── NotFound
    │   ├── NetworkNotFound
    │   └── PortNotFound
    ├── Conflict                   the state of things forbids the request
    │   ├── AlreadyExists
    │   ├── WrongState             needs a running (or stopped, or persistent) network
    │   ├── ForeignObject          something that is not ours is in the way
    │   └── CapacityExhausted      the network, portgroup or uplink is full
    ├── AccessDenied
    ├── HostError                  the host refused or failed
    │   ├── KernelError            a system call or netlink request failed
    │   ├── MissingFeature         the kernel or a program lacks what is needed
    │   ├── ServiceError           a helper process (dnsmasq) did not start or died
    │   └── HookFailed             an administrator's script refused, or did not end in time
    ├── ConfigurationError         jackfieldd's own configuration is wrong
    ├── DaemonUnreachable          the client found no daemon
    └── InternalError              a defect of ours
"""

from __future__ import annotations

# The command line imports this module, and typing alone would cost it 4 ms of each call.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import ClassVar, Self

__all__ = [
    "AccessDenied",
    "AlreadyExists",
    "CapacityExhausted",
    "ConfigurationError",
    "Conflict",
    "DaemonUnreachable",
    "DocumentError",
    "ForeignObject",
    "HookFailed",
    "HostError",
    "InternalError",
    "InvalidRequest",
    "JackfieldError",
    "KernelError",
    "MissingFeature",
    "NetworkNotFound",
    "NotFound",
    "PortNotFound",
    "RequestTooLarge",
    "SchemaDocumentError",
    "ServiceError",
    "SyntaxDocumentError",
    "UnsupportedConfiguration",
    "UnsupportedOperation",
    "UsageError",
    "WrongState",
    "by_name",
    "counted",
    "every_error",
    "shell_word",
    "visible",
]


_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._@%+=:,/")


class JackfieldError(Exception):
    """Base of every error of ours.

    ``name`` is the stable word that HTTP clients and ``--json`` see; ``code`` and ``domain`` are
    libvirt's numbers; ``libvirt`` is its own text with its own code and domain, where it has one;
    ``hint`` is one sentence on what to do, or ``None``.
    """

    name: ClassVar[str] = "error"
    code: ClassVar[int] = 1
    domain: ClassVar[int] = 19
    libvirt: tuple[str, int, int] | None = None
    http_status: ClassVar[int] = 500
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        """Keep the complete sentence ``message`` and the advice ``hint``."""
        super().__init__(message)
        self.message = message
        self.hint = hint

    def in_libvirt(self, text: str, *, code: int | None = None, domain: int | None = None) -> Self:
        """Return the same error with the words that libvirt has for it.

        Scripts match what libvirt's network driver says, so its clients are told ``text`` (what
        comes after libvirt's own words for ``code``); our message goes with it.
        """
        self.libvirt = (
            text,
            self.code if code is None else code,
            self.domain if domain is None else domain,
        )
        return self

    def with_context(self, context: str) -> Self:
        """Return the same error with ``context: `` before its message."""
        self.message = f"{context}: {self.message}"
        self.args = (self.message,)
        return self


class DocumentError(JackfieldError):
    """A document says something that its format does not allow."""

    name = "invalid-document"
    code = 27
    http_status = 400
    exit_status = 3

    def __init__(self, message: str, *, line: int | None = None, hint: str | None = None) -> None:
        """Keep the ``line`` (1-based) of the element at fault, where it is known."""
        super().__init__(message if line is None else f"line {line}: {message}", hint=hint)
        self.line = line


class SyntaxDocumentError(DocumentError):
    """A document is not well-formed."""

    name = "malformed-document"
    code = 35
    domain = 5


class SchemaDocumentError(DocumentError):
    """A document is refused by the schema."""

    name = "schema-violation"
    code = 92
    domain = 5


class InvalidRequest(JackfieldError):
    """A request contradicts itself or what the documentation allows."""

    name = "invalid-request"
    code = 8
    http_status = 400
    exit_status = 3


class UnsupportedConfiguration(InvalidRequest):
    """A document combines what cannot be combined."""

    name = "unsupported-configuration"
    code = 67


class UnsupportedOperation(InvalidRequest):
    """The operation does not exist for this kind of thing."""

    name = "unsupported-operation"
    code = 84


class RequestTooLarge(InvalidRequest):
    """A request's body is longer than any document we read."""

    name = "request-too-large"
    http_status = 413


class UsageError(InvalidRequest):
    """A command line is wrong."""

    name = "usage-error"
    exit_status = 2


class NotFound(JackfieldError):
    """The named object does not exist."""

    name = "not-found"
    code = 43
    http_status = 404
    exit_status = 4


class NetworkNotFound(NotFound):
    """There is no such network."""

    name = "network-not-found"


class PortNotFound(NotFound):
    """There is no such port."""

    name = "port-not-found"
    code = 107


class Conflict(JackfieldError):
    """The state of things forbids the request."""

    name = "conflict"
    code = 55
    http_status = 409
    exit_status = 5


class AlreadyExists(Conflict):
    """A name, uuid or device is taken by another object of ours."""

    name = "already-exists"
    code = 9


class WrongState(Conflict):
    """The network is running, stopped, transient or in use, and must not be."""

    name = "wrong-state"


class ForeignObject(Conflict):
    """Something that is not ours is in the way; it is named, never touched."""

    name = "foreign-object"


class CapacityExhausted(Conflict):
    """Every portgroup and uplink that could take the port is full."""

    name = "capacity-exhausted"
    code = 1


class AccessDenied(JackfieldError):
    """The caller may not do this."""

    name = "access-denied"
    code = 88
    http_status = 403
    exit_status = 6


class HostError(JackfieldError):
    """The host refused or failed."""

    name = "host-error"
    code = 1
    http_status = 500
    exit_status = 7


class KernelError(HostError):
    """A system call or netlink request failed; ``errno`` is the kernel's positive number."""

    name = "kernel-error"
    code = 38

    def __init__(self, message: str, *, errno: int, hint: str | None = None) -> None:
        """Keep ``errno`` beside the complete ``message``."""
        super().__init__(message, hint=hint)
        self.errno = errno


class MissingFeature(HostError):
    """The kernel or a program lacks what the document needs."""

    name = "missing-feature"
    code = 84
    http_status = 501


class ServiceError(HostError):
    """A helper process did not start, or died."""

    name = "service-error"


class HookFailed(HostError):
    """An administrator's script refused an operation, failed, or did not end in time."""

    name = "hook-failed"
    code = 70
    domain = 34


class ConfigurationError(JackfieldError):
    """The daemon's own configuration is wrong."""

    name = "configuration-error"
    exit_status = 2


class DaemonUnreachable(JackfieldError):
    """No daemon answers at the socket."""

    name = "daemon-unreachable"
    code = 38
    exit_status = 8


class InternalError(JackfieldError):
    """A defect of ours."""

    name = "internal-error"


def counted(number: int, noun: str) -> str:
    """Return how many there are of something, in words: ``1 port``, ``2 ports``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shell_word(text: str) -> str:
    """Return ``text`` as the last word of a command line, to be pasted into a shell.

    What begins like an option has the ``--`` before it that says that it is none; what a terminal
    would not show as it is stands in escapes (bash and zsh).
    """
    if text.startswith("-") and text != "-":
        return f"-- {_quoted(text)}"
    return _quoted(text)


def visible(text: str) -> str:
    """Return ``text`` with escapes for what a terminal obeys, reorders or does not show."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in text
    )


def _quoted(text: str) -> str:
    if text and _PLAIN.issuperset(text):
        return text
    import shlex

    if text.isprintable():
        return shlex.quote(text)
    plain = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{visible(plain)}'"


def every_error() -> Iterator[type[JackfieldError]]:
    """Yield the classes of this module, the base first; rooms may have narrower ones."""
    pending: list[type[JackfieldError]] = [JackfieldError]
    while pending:
        kind = pending.pop()
        if kind.__module__ == __name__:
            yield kind
        pending.extend(kind.__subclasses__())


def by_name(name: str) -> type[JackfieldError]:
    """Return the error class whose ``name`` this is; unknown names give ``JackfieldError``."""
    for kind in every_error():
        if kind.name == name:
            return kind
    return JackfieldError
