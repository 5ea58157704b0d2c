"""JSON of the model: the representation of the HTTP API and of the store.

A value is an object with the names of its attributes; those that hold their default are
left out, and a key that is no field is an error.  Enumerations, addresses, UUIDs and PCI
addresses are strings; an uplink and a plug carry ``kind``.  One converter for each class is
compiled from its type hints when it is first used.

``network_from_json`` and ``port_from_json`` check types and single values only, which is enough
for what we stored ourselves; text from outside goes through
:func:`jackfield.document.convert.read_definition`, which applies the rules of documents as well.
"""

from __future__ import annotations

import ipaddress
import types
import typing
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from jackfield.document.address import address_text, parse_address
from jackfield.errors import DocumentError, SyntaxDocumentError
from jackfield.model.network import Network
from jackfield.model.port import Port
from jackfield.model.value import Value

__all__ = [
    "from_builtins",
    "network_from_json",
    "network_to_builtins",
    "network_to_json",
    "port_from_json",
    "port_to_builtins",
    "port_to_json",
    "to_builtins",
]

Model = TypeVar("Model")
Convert = Callable[[Any], Any]

MAX_BYTES = 4 * 1024 * 1024


class _Wrong(Exception):
    """A value that does not fit; the path to it grows as the exception travels outwards."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []


def _interface(text: str) -> Any:
    return ipaddress.ip_interface(text)


def _network(text: str) -> Any:
    return ipaddress.ip_network(text)


def _ipv4(text: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(text)


# How text becomes a value, for the types that are not dataclasses, enumerations or ``str``.
_FROM_TEXT: dict[type, Convert] = {
    UUID: UUID,
    ipaddress.IPv4Address: _ipv4,
}
_FAMILIES: dict[frozenset[type], Convert] = {
    frozenset({ipaddress.IPv4Address, ipaddress.IPv6Address}): parse_address,
    frozenset({ipaddress.IPv4Interface, ipaddress.IPv6Interface}): _interface,
    frozenset({ipaddress.IPv4Network, ipaddress.IPv6Network}): _network,
}


def _decoder(hint: Any) -> Convert:
    """Compile the function that makes a value of type ``hint`` from JSON's builtins."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        arms = [arm for arm in typing.get_args(hint) if arm is not types.NoneType]
        # ``None`` is the default of such a field and never stands in JSON.
        if len(arms) == 1:
            return _decoder(arms[0])
        family = _FAMILIES.get(frozenset(arms))
        return _text(family) if family is not None else _tagged(arms)
    if origin is tuple:
        return _sequence(_decoder(typing.get_args(hint)[0]))
    if hint in _FROM_TEXT:
        return _text(_FROM_TEXT[hint])
    if issubclass(hint, Value):
        return _class_decoder(hint)
    if issubclass(hint, Enum):
        return _enumeration(hint)
    if issubclass(hint, str):
        return _text(hint)
    return _plain(hint)


def _plain(kind: type) -> Convert:
    noun = {bool: "true or false", int: "a whole number"}.get(kind, kind.__name__)

    def decode(value: Any) -> Any:
        if type(value) is not kind:
            raise _Wrong(f"expected {noun}, not {_shown(value)}")
        if isinstance(value, int) and value < 0:
            raise _Wrong(f"expected a number from 0, not {value}")
        return value

    return decode


def _text(make: Convert) -> Convert:
    def decode(value: Any) -> Any:
        if type(value) is not str:
            raise _Wrong(f"expected text, not {_shown(value)}")
        try:
            return make(value)
        except ValueError as error:
            raise _Wrong(f"{_shown(value)}: {error}") from None

    return decode


def _enumeration(kind: type[Enum]) -> Convert:
    members = {member.value: member for member in kind}
    allowed = ", ".join(map(repr, members))

    def decode(value: Any) -> Any:
        try:
            return members[value]
        except (KeyError, TypeError):
            raise _Wrong(f"{_shown(value)} is not one of {allowed}") from None

    return decode


def _sequence(item: Convert) -> Convert:
    def decode(value: Any) -> Any:
        if type(value) is not list:
            raise _Wrong(f"expected a list, not {_shown(value)}")
        try:
            return tuple([item(one) for one in value])
        except _Wrong:
            for index, one in enumerate(value):
                try:
                    item(one)
                except _Wrong as error:
                    error.path.append(f"[{index}]")
                    raise
            raise

    return decode


def _tagged(arms: list[type[Value]]) -> Convert:
    decoders = {str(arm.__struct_config__.tag): _class_decoder(arm) for arm in arms}
    allowed = ", ".join(map(repr, decoders))

    def decode(value: Any) -> Any:
        if type(value) is not dict:
            raise _Wrong(f"expected an object, not {_shown(value)}")
        fields = dict(value)
        kind = fields.pop("kind", None)
        if type(kind) is not str or kind not in decoders:
            raise _Wrong(f"kind {_shown(kind)} is not one of {allowed}")
        return decoders[kind](fields)

    return decode


_class_decoders: dict[type, Convert] = {}


def _class_decoder(cls: type[Any]) -> Convert:
    found = _class_decoders.get(cls)
    if found is not None:
        return found
    hints = typing.get_type_hints(cls)
    fields = {one.name: _decoder(hints[one.name]) for one in msgspec.structs.fields(cls)}
    needed = [one.name for one in msgspec.structs.fields(cls) if one.required]
    nullable = {name for name in fields if types.NoneType in typing.get_args(hints[name])}

    def decode(value: Any) -> Any:
        if type(value) is not dict:
            raise _Wrong(f"expected an object, not {_shown(value)}")
        made: dict[str, Any] = {}
        name = ""
        try:
            for name, one in value.items():
                if one is None and name in nullable:
                    made[name] = None
                else:
                    made[name] = fields[name](one)
            return cls(**made)
        except _Wrong as error:
            error.path.append(f".{name}")
            raise
        except KeyError:
            allowed = ", ".join(sorted(fields))
            raise _Wrong(f"{_shown(name)} is not a field of it; allowed are {allowed}") from None
        except TypeError:
            missing = [repr(one) for one in needed if one not in value]
            raise _Wrong(f"lacks {', '.join(missing)}") from None

    _class_decoders[cls] = decode
    return decode


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 64 else text[:64] + "…"


def from_builtins(cls: type[Model], value: Any) -> Model:
    """Make a ``cls`` of the model from what JSON holds; raises :class:`DocumentError`."""
    try:
        made: Model = _class_decoder(cls)(value)
    except _Wrong as error:
        path = "".join(reversed(error.path)).removeprefix(".")
        where = f"'{path}' of the {cls.__name__.lower()}" if path else f"the {cls.__name__.lower()}"
        raise DocumentError(f"{where}: {error.reason}") from None
    return made


def _parse(data: bytes | str) -> Any:
    if len(data) > MAX_BYTES:
        raise SyntaxDocumentError(
            f"the document is {len(data)} bytes long", hint="at most 4 MiB are allowed"
        )
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise SyntaxDocumentError(f"not JSON: {error}") from None


def _as_text(value: Any) -> str:
    """Return as text what the encoder does not know: addresses, and subclasses of ``str``."""
    return address_text(value) if type(value) is ipaddress.IPv6Address else str(value)


_encode = msgspec.json.Encoder(enc_hook=_as_text).encode


def to_builtins(value: Any) -> dict[str, Any]:
    """Return a value of the model as builtins that any JSON encoder takes."""
    made: dict[str, Any] = msgspec.to_builtins(value, enc_hook=_as_text)
    return made


def network_to_builtins(network: Network) -> dict[str, Any]:
    """Return ``network`` as builtins that any JSON encoder takes."""
    return to_builtins(network)


def network_to_json(network: Network) -> bytes:
    """Return ``network`` as one line of JSON."""
    return _encode(network)


def network_from_json(data: bytes | str) -> Network:
    """Read a network that ``network_to_json`` wrote; raises :class:`DocumentError`."""
    return from_builtins(Network, _parse(data))


def port_to_builtins(port: Port) -> dict[str, Any]:
    """Return ``port`` as builtins that any JSON encoder takes."""
    return to_builtins(port)


def port_to_json(port: Port) -> bytes:
    """Return ``port`` as one line of JSON."""
    return _encode(port)


def port_from_json(data: bytes | str) -> Port:
    """Read a port that ``port_to_json`` wrote; raises :class:`DocumentError`."""
    return from_builtins(Port, _parse(data))
