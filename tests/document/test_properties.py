"""Model to text to model, for every spelling there is."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings

from jackfield.document.convert import checked, convert, read_definition, write_definition
from jackfield.document.json import network_from_json, network_to_builtins, network_to_json
from jackfield.document.layered import write_layered
from jackfield.document.libvirt import write_network
from jackfield.document.reader import read_network
from jackfield.document.schema import validate
from jackfield.model.network import Network
from jackfield.model.value import Value
from tests.strategies import networks


@given(networks())
@settings(deadline=None, max_examples=40)
def test_each_dialect_says_the_whole_network(network: Network) -> None:
    """What a writer wrote is read back as the same value, and follows the schema."""
    for text in (write_network(network), write_layered(network)):
        assert network == read_network(text)
        validate(text)


@given(networks())
@settings(deadline=None, max_examples=40)
def test_the_dialects_convert_into_each_other(network: Network) -> None:
    """Text of one dialect becomes text of any other that means the same."""
    libvirt, layered = write_network(network), write_layered(network)
    assert layered == convert(libvirt, "layered")
    assert libvirt == convert(layered, "libvirt")
    assert network == read_definition(convert(layered, "json"))
    assert libvirt == convert(write_definition(network, "json"), "libvirt")


@given(networks())
@settings(deadline=None, max_examples=40)
def test_json_says_the_whole_network(network: Network) -> None:
    """JSON gives the same value back, and what a document could say passes the checks."""
    assert network == network_from_json(network_to_json(network))
    assert network == checked(network)


def superfluous(value: object, said: Any) -> list[str]:
    """Return the attributes of ``value`` that are at their default and yet ``said``."""
    if isinstance(value, tuple):
        pairs = zip(value, said, strict=True)
        return [name for one, text in pairs for name in superfluous(one, text)]
    if not isinstance(value, Value):
        return []
    found = []
    for field in msgspec.structs.fields(type(value)):
        if field.name in said:
            one = getattr(value, field.name)
            found += superfluous(one, said[field.name])
            if one == field.default:
                found.append(f"{type(value).__name__}.{field.name}")
    return found


@given(networks())
@settings(deadline=None, max_examples=40)
def test_json_says_no_default(network: Network) -> None:
    """An attribute at its default does not stand in JSON, wherever the value came from."""
    by_json = network_from_json(network_to_json(network))
    for same in (network, by_json, read_network(write_layered(network))):
        assert [] == superfluous(same, network_to_builtins(same))
