"""Expressions of others, whatever they are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jackfield.host.netlink.message import attribute, attribute_text, nested
from jackfield.host.nft.foreignexpression import _DECODERS, decode_expressions
from jackfield.host.nft.xtables import _MATCHES
from jackfield.state.ruleset import Doubt

ATTRIBUTES = st.lists(
    st.tuples(st.integers(1, 12), st.binary(max_size=24) | st.sampled_from([b"\0\0\0\1", b"tcp\0"]))
).map(lambda items: b"".join(attribute(kind, data) for kind, data in items))


@given(name=st.sampled_from(sorted(_DECODERS)), data=ATTRIBUTES)
def test_nothing_is_too_strange(name: str, data: bytes) -> None:
    """What a kernel that nobody knows yet says is left open, and stops nobody."""
    decode_expressions(nested(1, attribute_text(1, name), nested(2, data)))


@given(name=st.sampled_from(sorted(_MATCHES)), revision=st.integers(0, 4), info=st.binary())
def test_no_match_is_too_strange(name: str, revision: int, info: bytes) -> None:
    """So it is with matches of iptables."""
    match = attribute_text(1, name) + attribute(2, revision.to_bytes(4, "big")) + attribute(3, info)
    decode_expressions(nested(1, attribute_text(1, "match"), nested(2, match)))


def test_what_is_not_known_is_a_doubt() -> None:
    """An expression, or a match, without a decoder is left open by its name."""
    unknown = nested(1, attribute_text(1, "warp"))
    match = attribute_text(1, "quark") + attribute(2, bytes(4)) + attribute(3, b"")
    strange = nested(1, attribute_text(1, "match"), nested(2, match))
    counted = nested(1, attribute_text(1, "counter"))
    assert (Doubt("warp"), Doubt("quark")) == decode_expressions(unknown + counted + strange)
