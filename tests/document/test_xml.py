"""Hostile texts: refused with our own errors, quickly, and nothing outside is read."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jackfield.document.convert import convert, read_definition
from jackfield.document.guest import read_guest
from jackfield.document.json import network_from_json
from jackfield.document.libvirt import write_network
from jackfield.document.port import read_port
from jackfield.document.reader import read_network
from jackfield.document.schema import validate
from jackfield.document.update.network import update_network
from jackfield.document.update.request import Command, Section
from jackfield.document.xml import MAX_BYTES, parse
from jackfield.errors import JackfieldError, SchemaDocumentError, SyntaxDocumentError
from jackfield.model.network import Network
from tests.strategies import networks


def test_doctypes_and_entities_are_refused() -> None:
    """Neither the bomb nor the external entity gets as far as being looked at."""
    bomb = "<!DOCTYPE b [<!ENTITY a 'x'><!ENTITY b '&a;&a;'>]><network><name>&b;</name></network>"
    for text in (
        bomb,
        "<!DOCTYPE network SYSTEM 'file:///etc/passwd'><network/>",
        "<?xml version='1.0' encoding='UTF-16'?><!DOCTYPE a><a/>".encode("utf-16"),
        "<network><name>&x;</name></network>",
    ):
        with pytest.raises(SyntaxDocumentError):
            read_network(text)


@pytest.mark.parametrize("encoding", ["UTF-8", "utf-16", "ISO-8859-1", "us-ascii", "utf-7"])
def test_text_has_no_encoding_any_more(encoding: str) -> None:
    """What a client declares of a string is not so: libvirt's protocol has UTF-8 only."""
    text = (
        f"<?xml version='1.0' encoding='{encoding}'?>"
        "<network><name>n</name><title>caf\u00e9</title>"
        "<metadata><a:b xmlns:a='urn:a'>caf\u00e9</a:b></metadata></network>"
    )
    found = read_network(text)
    assert "caf\u00e9" == found.title
    assert "caf\u00e9" in (found.metadata or "")


def test_a_files_encoding_counts() -> None:
    """Of bytes it is what their first line says."""
    text = (
        "<?xml version='1.0' encoding='%s'?>"
        "<network><name>n</name><title>caf\u00e9</title></network>"
    )
    for encoding in ("ISO-8859-1", "UTF-16"):
        assert "caf\u00e9" == read_network((text % encoding).encode(encoding)).title


def test_external_files_are_not_read(tmp_path: Path) -> None:
    """XInclude and external entities stay text."""
    secret = tmp_path / "secret"
    secret.write_text("password")
    text = (
        "<network xmlns:xi='http://www.w3.org/2001/XInclude'><name>n</name>"
        f"<description><xi:include href='{secret}' parse='text'/></description></network>"
    )
    assert "password" not in write_network(read_network(text))


@pytest.mark.parametrize(
    "text",
    [
        "<a>" * 300 + "</a>" * 300,
        "<network><name>" + "a" * MAX_BYTES + "</name></network>",
        "<network>",
        "",
        "\x00",
        "<network><name>\x00</name></network>",
        "<network><name>\ud800</name></network>",
        b"\xff\xfe\x00",
        "<network a='1' a='2'/>",
    ],
)
def test_what_is_no_document_is_a_syntax_error(text: str | bytes) -> None:
    """The error carries libvirt's code for text that is not well-formed."""
    with pytest.raises(SyntaxDocumentError) as caught:
        read_network(text)
    assert (35, 5) == (caught.value.code, caught.value.domain)


def test_where_the_syntax_is_wrong_is_said_once() -> None:
    """The line stands before, and what is no XML at all is told what a document is."""
    with pytest.raises(SyntaxDocumentError) as caught:
        read_network("<network>\n<name>n</network>")
    said = "line 2: Opening and ending tag mismatch: name line 2 and network"
    assert (said, None) == (caught.value.message, caught.value.hint)
    with pytest.raises(SyntaxDocumentError) as caught:
        read_network("root:x:0:0")
    assert "line 1: Start tag expected, '<' not found" == caught.value.message
    assert "a document is XML, beginning with <network>" in (caught.value.hint or "")


def test_schema_refuses_what_readers_ignore() -> None:
    """A misspelt element is read as if it were not there, but does not validate."""
    text = "<network><name>n</name>\n<forwrad mode='nat'/></network>"
    assert "n" == read_network(text).name
    with pytest.raises(SchemaDocumentError) as caught:
        validate(text)
    assert (92, 5) == (caught.value.code, caught.value.domain)
    with pytest.raises(SchemaDocumentError):
        read_definition(text, schema=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<forward mode='nta'/>", "line 3: <forward> has mode='nta': allowed are 'bridge', "),
        ("<forward mode='nat' dev='eth 0'/>", "line 3: <forward> has dev='eth 0': device name "),
        ("<forwrad mode='nat'/>", "line 3: the document does not follow the schema: "),
    ],
)
def test_schema_violations_are_told_in_words(text: str, words: str) -> None:
    """What the reader refuses as well is said as the reader says it; the line is known."""
    with pytest.raises(SchemaDocumentError) as caught:
        read_definition(f"<network>\n<name>n</name>\n{text}\n</network>", schema=True)
    assert caught.value.message.startswith(words)
    assert 3 == caught.value.line


def _update(text: str | bytes) -> object:
    network = read_network(
        "<network><name>n</name><forward mode='nat'/><ip address='10.0.0.1' prefix='24'/></network>"
    )
    for section in Section:
        for command in Command:
            try:
                update_network(network, section, command, -1, text)
            except JackfieldError:
                continue
    return None


READERS: list[Callable[[str | bytes], object]] = [
    read_network,
    read_guest,
    read_port,
    read_definition,
    network_from_json,
    lambda text: convert(text, "layered"),
    validate,
    _update,
]

_VOCABULARY = """
    network name uuid forward mode layer bridge nat route dev interface pf address ip prefix
    netmask family dhcp range start end host mac id lease expiry unit dns txt srv forwarder
    hostname vlan tag trunk bandwidth inbound average floor virtualport type parameters typeid
    portgroup count vpn peer publicKey endpoint allow vde portForward proto target proxy arp
    domain devices source plug owner networkport pool maxConnect direct metadata port isolated
    uplinks uplink mtu size driver update 802.1Qbg openvswitch subnet vepa bridge-brctl yes no
    10.0.0.1 24 0x10 52:54:00:00:00:01 fd00::1 ipv6 -1 4096 eth0 n
"""
_WORDS = st.sampled_from(_VOCABULARY.split())


@st.composite
def _trees(draw: st.DrawFn, depth: int = 4) -> str:
    """Well-formed nonsense made of the language's own words."""
    tag = draw(_WORDS.filter(str.isalpha))
    pairs = draw(st.dictionaries(_WORDS.filter(str.isalpha), _WORDS | st.text(max_size=4)))
    attributes = "".join(
        f" {name}='{value.translate({60: None, 38: None, 39: None})}'"
        for name, value in pairs.items()
    )
    if depth == 0:
        return f"<{tag}{attributes}/>"
    inner = draw(st.lists(_trees(depth=depth - 1) | _WORDS, max_size=4))
    return f"<{tag}{attributes}>{''.join(inner)}</{tag}>"


@given(st.sampled_from(READERS), st.text() | st.binary() | _trees())
@example(read_network, "<network><name>n</name><metadata><!-- x --></metadata></network>")
@settings(deadline=None, max_examples=200)
def test_nonsense_gives_only_our_own_errors(
    read: Callable[[str | bytes], object], text: str | bytes
) -> None:
    """No reader ends in anything but a value or an error of ours."""
    try:
        read(text)
    except JackfieldError:
        return


@given(networks(), st.data())
@settings(deadline=None, max_examples=80)
def test_damaged_documents_give_only_our_own_errors(network: Network, data: st.DataObject) -> None:
    """A document with a piece cut out, doubled or replaced is read or refused."""
    text = write_network(network)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    filling = data.draw(st.sampled_from(["", text[start:end] * 2, "'", "<", "0", "yes", "-1"]))
    damaged = text[:start] + filling + text[end:]
    for read in READERS[:7]:
        try:
            read(damaged)
        except JackfieldError:
            continue


@pytest.mark.parametrize(
    ("opening", "item", "closing"),
    [
        ("", "<portgroup/>", ""),
        ("", "<ip address='10.0.0.1'/>", ""),
        ("<dns>", "<txt name='a' value='b'/>", "</dns>"),
        ("<forward mode='vepa'>", "<x/>", "</forward>"),
        (
            "<ip address='10.0.0.1' prefix='8'><dhcp>",
            "<host name='a' ip='10.0.0.2'/>",
            "</dhcp></ip>",
        ),
        ("<vlan>", "<tag id='1'/>", "</vlan>"),
        ("<metadata><a:b xmlns:a='u'>", "<c/>", "</a:b></metadata>"),
        ("<description>", "&lt;x", "</description>"),
    ],
)
def test_time_grows_with_length_and_no_faster(opening: str, item: str, closing: str) -> None:
    """Eight times the text takes well under sixty-four times the time."""

    def seconds(count: int) -> float:
        text = f"<network><name>n</name>{opening}{item * count}{closing}</network>"
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            network_ = read_network(text)
            write_network(network_)
            best = min(best, time.process_time() - start)
        return best

    assert seconds(8000) < 24 * seconds(1000)


def test_many_uplinks_are_read_in_linear_time() -> None:
    """Each uplink is compared with all others only by hash."""

    def seconds(count: int) -> float:
        links = "".join(f"<interface dev='e{number}'/>" for number in range(count))
        text = f"<network><name>n</name><forward mode='vepa'>{links}</forward></network>"
        start = time.process_time()
        read_network(text)
        return time.process_time() - start

    assert min(seconds(8000) for _ in range(3)) < 24 * min(seconds(1000) for _ in range(3))


def test_parse_drops_comments_and_instructions() -> None:
    """What is no element does not reach the readers."""
    root = parse("<a><!-- b --><?c d?><e/></a>")
    assert ["e"] == [one.tag for one in root]
