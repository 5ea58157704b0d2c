"""The corpus of libvirt's own documents, byte for byte."""

from __future__ import annotations

import json

import pytest

from jackfield.document.layered import write_layered
from jackfield.document.libvirt import write_network
from jackfield.document.reader import read_network
from jackfield.document.schema import validate
from jackfield.errors import DocumentError
from tests.corpus import corpus, find_corpus, needs_corpus

pytestmark = needs_corpus


def _cases() -> list[str]:
    folder = find_corpus()
    if folder is None:
        return []
    text = (folder / "libvirt-11.3/roundtrip/index.json").read_text()
    return [case["name"] for case in json.loads(text)]


@pytest.mark.parametrize("name", _cases())
def test_output_is_libvirts(name: str) -> None:
    """What libvirt accepts is written as libvirt writes it, what it rejects is rejected."""
    folder = corpus("libvirt-11.3/roundtrip")
    case = next(
        one for one in json.loads((folder / "index.json").read_text()) if one["name"] == name
    )
    text = (folder / "in" / f"{name}.xml").read_bytes()
    if case["expect"] == "reject":
        with pytest.raises(DocumentError):
            read_network(text)
        return
    network = read_network(text)
    expected = (folder / case["out"]).read_text()
    assert expected == write_network(network, inactive=case["inactive"])
    assert network == read_network(write_layered(network))


@pytest.mark.parametrize("name", _cases())
def test_both_dialects_follow_the_schema(name: str) -> None:
    """What libvirt accepts, and both our outputs of it, follow our schema."""
    folder = corpus("libvirt-11.3/roundtrip")
    case = next(
        one for one in json.loads((folder / "index.json").read_text()) if one["name"] == name
    )
    if case["expect"] == "reject":
        return
    text = (folder / "in" / f"{name}.xml").read_bytes()
    network = read_network(text)
    for one in (text, write_network(network), write_layered(network)):
        validate(one)
