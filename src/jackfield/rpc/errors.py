"""Errors on the wire: libvirt's ``virNetMessageError``.

``message`` is the complete text that clients print.  libvirt puts its format and the format's
argument into the first two strings; our fuller explanation, with what to do about it, goes into
the second one.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from jackfield.errors import JackfieldError
from jackfield.rpc.xdr import INT, OPTIONAL_STRING, UINT, Codec, pack, unpack

__all__ = ["Code", "Domain", "RpcError", "WireError", "to_wire"]


class Code:
    """The error codes (``virErrorNumber``) that the door itself uses."""

    INTERNAL_ERROR = 1
    NO_SUPPORT = 3
    NO_CONNECT = 5
    INVALID_ARG = 8
    OPERATION_DENIED = 29
    RPC = 39
    INVALID_MAC = 44
    AUTH_FAILED = 45
    ARGUMENT_UNSUPPORTED = 74
    NO_NETWORK_METADATA = 111


class Domain:
    """The error domains (``virErrorDomain``) that the door itself uses."""

    NONE = 0
    XML = 5
    RPC = 7
    NETWORK = 19
    DOMAIN = 20


_LEVEL_ERROR = 2

_FORMATS = {
    Code.INTERNAL_ERROR: "internal error: %1$s",
    Code.NO_SUPPORT: "this function is not supported by the connection driver: %1$s",
    Code.NO_CONNECT: "no connection driver available for %1$s",
    Code.INVALID_ARG: "invalid argument: %1$s",
    9: "operation failed: %1$s",
    27: "XML error: %1$s",
    Code.OPERATION_DENIED: "operation forbidden: %1$s",
    43: "Network not found: %1$s",
    Code.INVALID_MAC: "invalid MAC address: %1$s",
    Code.AUTH_FAILED: "authentication failed: %1$s",
    55: "Requested operation is not valid: %1$s",
    67: "unsupported configuration: %1$s",
    70: "Hook script execution failed: %1$s",
    Code.ARGUMENT_UNSUPPORTED: "argument unsupported: %1$s",
    84: "Operation not supported: %1$s",
    88: "access denied: %1$s",
    92: "XML document failed to validate against schema: %1$s",
    106: "network port %1$s exists already",
    107: "network port not found: %1$s",
    Code.NO_NETWORK_METADATA: "metadata not found: %1$s",
}
"""The words of each code; those that are not here have none of their own."""

_PLAIN = "%s"
_NO_ARGUMENT = frozenset({21})
"""Codes whose words are the whole text: "missing name information"."""


class RpcError(Exception):
    """A call that the door itself refuses; ``text`` is the argument of the code's words."""

    def __init__(self, code: int, text: str, domain: int = Domain.NETWORK) -> None:
        """Keep the code, the text and the domain."""
        super().__init__(text)
        self.code = code
        self.text = text
        self.domain = domain

    @classmethod
    def unsupported_flags(cls, flags: int, function: str) -> RpcError:
        """Return the error of flags that a function does not know."""
        text = f"unsupported flags ({flags:#x}) in function {function}"
        return cls.wrong_argument(text, "flags", function)

    @classmethod
    def wrong_argument(cls, text: str, argument: str, function: str) -> RpcError:
        """Return the error of an argument that libvirt's own library would not have sent."""
        error = cls(Code.INVALID_ARG, text)
        error.argument, error.function = argument, function
        return error

    argument: str | None = None
    function: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WireError:
    """The payload of a reply whose status is an error."""

    code: int
    domain: int
    message: str
    str1: str | None = None
    str2: str | None = None
    int1: int = -1
    int2: int = -1

    def encode(self) -> bytes:
        """Return the payload."""
        return pack(
            _FIELDS,
            (
                self.code,
                self.domain,
                self.message,
                _LEVEL_ERROR,
                0,
                self.str1,
                self.str2,
                None,
                self.int1,
                self.int2,
                0,
            ),
        )

    @classmethod
    def decode(cls, payload: bytes) -> WireError:
        """Return the error of a payload; ``XdrError`` when it is none."""
        fields: list[Any] = unpack(_FIELDS, payload)
        return cls(
            code=fields[0],
            domain=fields[1],
            message=fields[2] or "",
            str1=fields[5],
            str2=fields[6],
            int1=fields[8],
            int2=fields[9],
        )


# code, domain, message, level, dom, str1, str2, str3, int1, int2, net; the objects are never sent.
_FIELDS: tuple[Codec[Any], ...] = (
    INT,
    INT,
    OPTIONAL_STRING,
    INT,
    UINT,
    OPTIONAL_STRING,
    OPTIONAL_STRING,
    OPTIONAL_STRING,
    INT,
    INT,
    UINT,
)


def to_wire(error: JackfieldError | RpcError) -> WireError:
    """Return an error as libvirt's clients are told it."""
    if isinstance(error, RpcError):
        if error.function is not None:
            return WireError(
                code=error.code,
                domain=error.domain,
                message=error.text,
                str1=error.function,
                str2=error.argument,
                int1=0,
                int2=0,
            )
        return _worded(error.code, error.domain, error.text, error.text)
    explanation = error.message if error.hint is None else f"{error.message}; {error.hint}"
    if error.libvirt is None:
        return _worded(error.code, error.domain, error.message, explanation)
    text, code, domain = error.libvirt
    return _worded(code, domain, text, explanation)


def _worded(code: int, domain: int, text: str, explanation: str) -> WireError:
    if code in _NO_ARGUMENT:
        return WireError(code=code, domain=domain, message=text, str1=text, str2=explanation)
    words = _FORMATS.get(code, _PLAIN)
    message = text if words == _PLAIN else words.replace("%1$s", text)
    return WireError(code=code, domain=domain, message=message, str1=words, str2=explanation)
