"""Calls about title, description and metadata of networks.

libvirt's library checks their arguments before its driver sees them; a client that speaks the
protocol itself has not, so the same is checked here.
"""

from __future__ import annotations

from jackfield.engine.longdocuments import aside
from jackfield.engine.metadata import MetadataType, read_metadata
from jackfield.errors import InvalidRequest
from jackfield.rpc.errors import Code, RpcError
from jackfield.rpc.flags import AFFECT_CONFIG, AFFECT_LIVE, check_flags
from jackfield.rpc.networks import view_of
from jackfield.rpc.procedures import NetworkRef
from jackfield.rpc.session import Session

__all__ = ["get_metadata", "set_metadata"]

_NEWLINES = "metadata title can't contain newlines"
_EXCLUSIVE = (
    "Flags 'VIR_NETWORK_UPDATE_AFFECT_LIVE' and 'VIR_NETWORK_UPDATE_AFFECT_CONFIG' are mutually "
    "exclusive"
)


async def set_metadata(
    session: Session,
    net: NetworkRef,
    kind: int,
    text: str | None,
    key: str | None,
    uri: str | None,
    flags: int,
) -> tuple[object, ...]:
    """Set or remove title, description or an element of the metadata."""
    function = "virNetworkSetMetadata"
    if kind == MetadataType.ELEMENT:
        _check_given("uri", uri, function)
        if text is not None:
            _check_given("key", key, function)
    elif kind in (MetadataType.TITLE, MetadataType.DESCRIPTION):
        if kind == MetadataType.TITLE and text is not None and "\n" in text:
            raise RpcError.wrong_argument(_NEWLINES, "metadata", function)
        _check_absent("uri", uri, function)
        _check_absent("key", key, function)
    check_flags(flags, AFFECT_LIVE | AFFECT_CONFIG, "networkSetMetadata")
    view = view_of(session, net)
    known = _metadata_type(kind)
    await session.change(
        "metadata",
        f"network {view.name}",
        lambda: session.engine.set_metadata(
            view.uuid,
            known,
            text,
            key=key,
            uri=uri,
            live=bool(flags & AFFECT_LIVE),
            config=bool(flags & AFFECT_CONFIG),
        ),
    )
    return ()


async def get_metadata(
    session: Session, net: NetworkRef, kind: int, uri: str | None, flags: int
) -> tuple[object, ...]:
    """Return title, description or an element of the metadata."""
    function = "virNetworkGetMetadata"
    if flags & AFFECT_LIVE and flags & AFFECT_CONFIG:
        raise RpcError.wrong_argument(_EXCLUSIVE, "flags", function)
    if kind == MetadataType.ELEMENT:
        _check_given("uri", uri, function)
    elif kind in (MetadataType.TITLE, MetadataType.DESCRIPTION):
        _check_absent("uri", uri, function)
    view = view_of(session, net)
    check_flags(flags, AFFECT_LIVE | AFFECT_CONFIG, "virNetworkObjGetMetadata")
    network = session.engine.affected(
        view.uuid, live=bool(flags & AFFECT_LIVE), config=bool(flags & AFFECT_CONFIG)
    )
    known = _metadata_type(kind)
    text = await aside(lambda: read_metadata(network, known, uri), network)
    if text is None:
        raise RpcError(Code.NO_NETWORK_METADATA, "Requested metadata element is not present")
    return (text,)


def _check_given(name: str, value: str | None, function: str) -> None:
    if value is None:
        raise RpcError.wrong_argument(f"{name} in {function} must not be NULL", name, function)


def _check_absent(name: str, value: str | None, function: str) -> None:
    if value is not None:
        raise RpcError.wrong_argument(f"{name} in {function} must be NULL", name, function)


def _metadata_type(kind: int) -> MetadataType:
    try:
        return MetadataType(kind)
    except ValueError:
        raise InvalidRequest(f"metadata has no type {kind}").in_libvirt(
            f"unknown metadata type '{kind}'"
        ) from None
