"""Metadata: what applications keep stays as it came."""

from __future__ import annotations

import pytest

from jackfield.document.libvirt import write_network
from jackfield.document.metadata import canonical_metadata, element_of, with_element
from jackfield.document.reader import read_network
from jackfield.errors import InvalidRequest

TEXT = """<network>
  <name>n</name>
  <metadata>
    <a:b xmlns:a="urn:a" c="d">
      <a:e/>
    </a:b>
    <f xmlns="urn:f">mixed <g/> text<!-- and a comment --><![CDATA[ & more]]></f>
  </metadata>
  <bridge stp='on' delay='0'/>
</network>
"""


def test_text_comes_back_byte_for_byte() -> None:
    """Namespaces, comments and CDATA sections included."""
    assert TEXT == write_network(read_network(TEXT))
    metadata = read_network(TEXT).metadata
    assert metadata is not None
    assert metadata == canonical_metadata(metadata)


def test_namespaces_of_the_document_go_with_it() -> None:
    """A prefix that the network declares is declared where it is used."""
    network = read_network(
        "<network xmlns:a='urn:a'><name>n</name><metadata><a:b/></metadata></network>"
    )
    assert network.metadata is not None
    assert 'xmlns:a="urn:a"' in network.metadata
    assert network == read_network(write_network(network))


def test_one_element_is_replaced_by_its_namespace() -> None:
    """As ``virsh net-metadata`` does: by URI, under the key as prefix."""
    one = with_element(None, "urn:x", "k", "<app version='1'><port/></app>")
    assert one is not None
    assert '<k:app xmlns:k="urn:x" version="1">' in one
    two = with_element(one, "urn:y", "l", "<other/>")
    three = with_element(two, "urn:x", "k", "<app version='2'/>")
    assert three is not None
    assert 1 == three.count("urn:x")
    found = element_of(three, "urn:x")
    assert found is not None
    assert 'version="2"' in found
    assert element_of(three, "urn:z") is None
    assert element_of(None, "urn:x") is None
    last = with_element(three, "urn:x", None, None)
    assert with_element(last, "urn:y", None, None) is None


@pytest.mark.parametrize(
    ("uri", "key"), [("http://x.example/", "k k"), ("http://x.example/", "1"), ("u:'&\"", "k")]
)
def test_a_namespace_is_one(uri: str, key: str) -> None:
    """What XML has no way to say is refused by name, and can be asked for in vain."""
    with pytest.raises(InvalidRequest) as caught:
        with_element(None, uri, key, "<a/>")
    assert repr(uri) in caught.value.message
    assert repr(key) in caught.value.message
    assert with_element("<metadata/>", uri, key, None) is None
    assert element_of("<metadata><a/></metadata>", uri) is None
