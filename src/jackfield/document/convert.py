"""Any text of a network in, any other out: the front of the reading and writing side.

- ``read_definition(text) -> Network``: XML of either dialect or JSON, with every rule applied;
  what the daemon and the HTTP API use for text from outside.
- ``convert(text, to) -> str``: what ``jackfield convert`` prints.  ``to`` is ``libvirt``,
  ``layered`` or ``json``.  Besides networks it understands the older pool forms, and a guest's
  ``<interface>`` or ``<domain>``, for which it gives the networks followed by the guest's text.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from jackfield.document.json import network_from_json, network_to_builtins
from jackfield.document.layered import write_layered
from jackfield.document.legacy import read_legacy
from jackfield.document.libvirt import write_network
from jackfield.document.metadata import canonical_metadata
from jackfield.document.reader import read_network, read_network_element
from jackfield.document.rules import check
from jackfield.document.schema import validate
from jackfield.document.unbind import unbind
from jackfield.document.xml import line_of, parse
from jackfield.errors import DocumentError, InvalidRequest, SchemaDocumentError
from jackfield.model.mode import Mode
from jackfield.model.network import Bridge, Network

__all__ = ["Dialect", "convert", "read_definition", "write_definition"]

Dialect = Literal["libvirt", "layered", "json"]


def _is_json(text: str | bytes) -> bool:
    start = text[:256].lstrip()
    return start.startswith(b"{") if isinstance(start, bytes) else start.startswith("{")


def read_definition(text: str | bytes, *, schema: bool = False) -> Network:
    """Read a network from XML of either dialect or from JSON.

    ``schema`` refuses XML that the RELAX NG schema refuses, unknown elements above all
    (:class:`SchemaDocumentError`); JSON never has unknown keys.
    """
    if _is_json(text):
        return checked(network_from_json(text))
    if schema:
        try:
            validate(text)
        except SchemaDocumentError as refusal:
            raise _in_words(refusal, text) from None
    return read_network(text)


def _in_words(refusal: SchemaDocumentError, text: str | bytes) -> SchemaDocumentError:
    """Return the refusal as the reader puts it, who names the value and what would be allowed.

    What the reader passes over is left as the schema says it.
    """
    try:
        read_network(text)
    except DocumentError as error:
        told = SchemaDocumentError(error.message, hint=error.hint)
        told.line = error.line
        return told
    return refusal


def checked(network: Network) -> Network:
    """Return the canonical form of a ``network`` that did not come from XML.

    It is written and read again, so that every rule of documents applies to it; what no document
    can say is an error that names the field.
    """
    if network.metadata is not None:
        network = msgspec.structs.replace(network, metadata=canonical_metadata(network.metadata))
    if network.mode.is_routed and network.bridge is None:
        network = msgspec.structs.replace(network, bridge=Bridge())
    if network.mode is Mode.HOSTDEV and network.managed is None:
        network = msgspec.structs.replace(network, managed=False)
    network = msgspec.structs.replace(network, connections=None)
    if network.vpn is not None:
        network = msgspec.structs.replace(
            network, vpn=msgspec.structs.replace(network.vpn, public_key=None)
        )
    check(network)
    try:
        same = read_network(write_layered(network))
    except DocumentError as error:
        # The line is of a text that the caller never saw.
        prefix = "" if error.line is None else f"line {error.line}: "
        raise DocumentError(error.message.removeprefix(prefix), hint=error.hint) from None
    for field in msgspec.structs.fields(Network):
        wanted, got = getattr(network, field.name), getattr(same, field.name)
        if wanted != got:
            raise DocumentError(
                f"'{field.name}' of network '{network.name}' holds what a network cannot say",
                hint=f"it would become {got!r}",
            )
    return same


def write_definition(network: Network, to: Dialect, *, inactive: bool = True) -> str:
    """Return ``network`` as text of the dialect ``to``."""
    if to == "libvirt":
        return write_network(network, inactive=inactive)
    if to == "layered":
        return write_layered(network, inactive=inactive)
    if to == "json":
        return _pretty(network_to_builtins(network))
    raise InvalidRequest(
        f"there is no dialect {to!r}", hint="there are 'libvirt', 'layered' and 'json'"
    )


def _pretty(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def convert(text: str | bytes, to: Dialect) -> str:
    """Return ``text`` in the dialect ``to``; raises :class:`DocumentError`."""
    if _is_json(text):
        return write_definition(read_definition(text), to)
    root = parse(text)
    if root.tag == "network":
        legacy = root.get("type") is not None
        network = read_legacy(root, text) if legacy else read_network_element(root, text)
        return write_definition(network, to)
    if root.tag not in ("interface", "domain"):
        raise DocumentError(
            f"the root element is <{root.tag}>",
            line=line_of(root),
            hint="expected <network>, <interface> or <domain>",
        )
    networks, guest = unbind(root)
    if to == "json":
        return _pretty(
            {"networks": [network_to_builtins(one) for one in networks], root.tag: guest}
        )
    return "".join(write_definition(one, to) for one in networks) + guest
