"""Network ports, byte for byte as libvirt writes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings

from jackfield.document.json import port_from_json, port_to_json
from jackfield.document.port import read_port, write_port
from jackfield.errors import DocumentError
from jackfield.model.port import Port
from tests.corpus import corpus_files
from tests.strategies import ports


@pytest.mark.parametrize(
    "path", corpus_files("libvirt-11.3/port/*.xml"), ids=lambda path: path.stem
)
def test_output_is_libvirts(path: Path) -> None:
    """Every document of the corpus comes back byte for byte."""
    text = path.read_text()
    assert text == write_port(read_port(text))


PLAIN = """<networkport>
  <uuid>00000000-0000-0000-0000-00000000004d</uuid>
  <owner>
    <name>{name}</name>
    <uuid>00000000-0000-0000-0000-000000000005</uuid>
  </owner>{group}
  <mac address={quote}52:54:00:7b:35:93{quote}/>
</networkport>
"""


@pytest.mark.parametrize("name", ["guest", "a b", "web & db", "&#x41;", "é", "a>b", " a", "]]>"])
@pytest.mark.parametrize("group", ["", "<group>gold</group>", "<group/>"])
@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_plain_port_is_what_a_parser_reads(name: str, group: str, quote: str) -> None:
    """The short way for most guests' documents and the long one for all say the same."""
    text = PLAIN.format(name=name, group=group, quote=quote)
    results: list[object] = []
    for data in (text, text.encode()):
        try:
            results.append(read_port(data))
        except DocumentError as error:
            results.append(str(error))
    assert results[1] == results[0]


@given(ports())
@settings(deadline=None, max_examples=60)
def test_text_and_json_say_the_whole_port(port: Port) -> None:
    """What was written is read back as the same value."""
    assert port == read_port(write_port(port))
    # A parser's way, which text need not take.
    assert port == read_port(write_port(port).encode())
    assert port == port_from_json(port_to_json(port))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<networkport/>", "lacks its <mac>"),
        ("<networkport><mac address='01:00:00:00:00:00'/></networkport>", "multicast"),
        ("<networkport><mac address='52:54:00:00:00:01'/></networkport>", "lacks its <owner>"),
        (
            """<networkport><mac address='52:54:00:00:00:01'/><owner><name>g</name>
               <uuid>d54df46f-1ab5-4a22-8618-4560ef5fac2c</uuid></owner>
               <plug type='carrier-pigeon'/></networkport>""",
            "type='carrier-pigeon': allowed are 'none', 'network'",
        ),
        ("<network/>", "expected <networkport>"),
    ],
)
def test_errors_say_what_is_wrong(text: str, said: str) -> None:
    """An error names the element and what is allowed."""
    with pytest.raises(DocumentError) as caught:
        read_port(text)
    assert said in f"{caught.value} {caught.value.hint}"
    assert caught.value.line in (1, 3)


@pytest.mark.parametrize("end", ["4d", "05"], ids=["port", "owner"])
def test_a_uuid_that_is_none_is_told(end: str) -> None:
    """The error names the element and what it holds."""
    text = PLAIN.format(name="guest", group="", quote="'")
    text = text.replace(f"00000000-0000-0000-0000-0000000000{end}", "zz")
    with pytest.raises(DocumentError, match=r"<uuid> holds 'zz', which is not a UUID"):
        read_port(text)
