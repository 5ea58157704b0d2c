"""Calls about the connection itself: handshake, features, identity, and who listens to events."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit
from uuid import UUID

from jackfield.rpc.errors import Code, Domain, RpcError
from jackfield.rpc.procedures import NetworkRef
from jackfield.rpc.session import Registration, Session
from jackfield.rpc.xdr import Parameter, ParameterType

__all__ = [
    "URI",
    "auth_list",
    "close",
    "deregister_close",
    "deregister_event",
    "get_hostname",
    "get_type",
    "get_uri",
    "get_version",
    "is_secure",
    "open_connection",
    "register_close",
    "register_event",
    "set_identity",
    "supports_feature",
]

URI = "network:///system"

# Which libvirt the answers are those of: major * 1,000,000 + minor * 1,000 + release.
_LIBVIRT_VERSION = 11_003_000

_READ_ONLY = 1
_FEATURE_KEEPALIVE = 10
# Program keepalive, events and close callback as messages of their own, updates in right order,
# and what each daemon has had for long (virDrvFeature).
_FEATURES = frozenset({8, 9, _FEATURE_KEEPALIVE, 14, 15, 16})
_EVENTS = frozenset({0, 1})
_MAX_REGISTRATIONS = 1024

_IDENTITY = {
    "user-name": ParameterType.STRING,
    "unix-user-id": ParameterType.ULLONG,
    "group-name": ParameterType.STRING,
    "unix-group-id": ParameterType.ULLONG,
    "process-id": ParameterType.LLONG,
    "process-time": ParameterType.ULLONG,
    "sasl-user-name": ParameterType.STRING,
    "x509-distinguished-name": ParameterType.STRING,
    "selinux-context": ParameterType.STRING,
    "system.token": ParameterType.STRING,
}


def auth_list(_session: Session) -> tuple[object, ...]:
    """Answer that there is nothing to authenticate by: the socket says who it is."""
    return ([0],)


def open_connection(session: Session, uri: str | None, flags: int) -> tuple[object, ...]:
    """Open the connection, if it is for the networks of the system."""
    if session.opened:
        raise RpcError(Code.INTERNAL_ERROR, "connection already open", Domain.RPC)
    if uri is None:
        uri = URI
    if not uri:
        raise RpcError(Code.NO_CONNECT, "<null>", Domain.NONE)
    try:
        parts = urlsplit(uri)
    except ValueError:
        raise RpcError(Code.NO_CONNECT, uri, Domain.NONE) from None
    if not parts.scheme:
        raise RpcError(Code.NO_CONNECT, f"URI '{uri}' does not include a driver name", Domain.NONE)
    # The parser makes the scheme lower case, and libvirt does not.
    if not uri.startswith("network:") or parts.netloc:
        raise RpcError(Code.NO_CONNECT, uri, Domain.NONE)
    if parts.path != "/system":
        raise RpcError(
            Code.INTERNAL_ERROR,
            f"unexpected network URI path '{parts.path}', try {URI}",
            Domain.NONE,
        )
    session.opened = True
    session.read_only = session.read_only or bool(flags & _READ_ONLY)
    return ()


def close(session: Session) -> tuple[object, ...]:
    """Forget what the client wanted to be told; the answer is the last that it gets."""
    session.registrations.clear()
    return ()


def get_type(_session: Session) -> tuple[object, ...]:
    """Answer with the driver's name."""
    return ("network",)


def get_version(_session: Session) -> tuple[object, ...]:
    """Answer with the version of libvirt whose answers ours are."""
    return (_LIBVIRT_VERSION,)


def get_uri(_session: Session) -> tuple[object, ...]:
    """Answer with the connection's URI."""
    return (URI,)


def get_hostname(_session: Session) -> tuple[object, ...]:
    """Answer with the host's name."""
    return (socket.gethostname(),)


def is_secure(_session: Session) -> tuple[object, ...]:
    """Answer that nobody else can listen."""
    return (1,)


def supports_feature(session: Session, feature: int) -> tuple[object, ...]:
    """Answer whether the daemon has a feature; who asks for keepalive is pinged as well."""
    if feature == _FEATURE_KEEPALIVE:
        session.keepalive = True
    return (int(feature in _FEATURES),)


def set_identity(session: Session, parameters: list[Parameter], _flags: int) -> tuple[object, ...]:
    """Note for whom a daemon connects; it is told to the log only.

    libvirt passes over the flags, and a guest whose daemon got an error here would not start.
    """
    for parameter in parameters:
        if parameter.name not in _IDENTITY:
            raise RpcError(
                Code.ARGUMENT_UNSUPPORTED,
                f"parameter '{parameter.name}' not supported",
                Domain.NONE,
            )
        if parameter.type != _IDENTITY[parameter.name]:
            raise RpcError(
                Code.INVALID_ARG, f"invalid type of parameter '{parameter.name}'", Domain.NONE
            )
    said = {parameter.name: parameter.value for parameter in parameters}
    user, process = said.get("unix-user-id"), said.get("process-id")
    if user is not None and session.caller.uid == 0:
        session.behind = f"user {user} (process {process})"
    return ()


def register_close(_session: Session) -> tuple[object, ...]:
    """Accept; the client notices the end of the connection by itself."""
    return ()


def deregister_close(_session: Session) -> tuple[object, ...]:
    """Accept."""
    return ()


def register_event(session: Session, event: int, network: NetworkRef | None) -> tuple[object, ...]:
    """Tell the client from now on of events of one kind."""
    if event not in _EVENTS:
        raise RpcError(Code.INTERNAL_ERROR, f"unsupported network event ID {event}", Domain.RPC)
    if len(session.registrations) >= _MAX_REGISTRATIONS:
        raise RpcError(Code.INTERNAL_ERROR, "too many network event callbacks", Domain.RPC)
    number = session.next_registration
    session.next_registration += 1
    uuid: UUID | None = None if network is None else network.uuid
    session.registrations[number] = Registration(event, uuid)
    return (number,)


def deregister_event(session: Session, number: int) -> tuple[object, ...]:
    """Tell the client no more of what it registered under ``number``."""
    if session.registrations.pop(number, None) is None:
        raise RpcError(
            Code.INTERNAL_ERROR, f"network event callback {number} not registered", Domain.RPC
        )
    return ()
