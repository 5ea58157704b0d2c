"""Chains that keep frames from the host's stack; ``nft`` is the witness."""

from __future__ import annotations

import pytest

from jackfield.errors import ForeignObject
from jackfield.host.kernel import Kernel
from jackfield.host.nft.ingress import guard, guarded, unguard
from tests.lab.namespace import NetworkNamespace

pytestmark = pytest.mark.kernel


def test_a_chain_for_each_device(kernel: Kernel, here: NetworkNamespace) -> None:
    """They come with their devices, and the table goes with the last of them."""
    for name in ("one", "two"):
        here.run(["ip", "link", "add", name, "type", "bridge"])
    guard(kernel.nft, ["one", "two"])
    guard(kernel.nft, ["two"])
    assert {"one", "two"} == guarded(kernel.nft)
    assert {"two"} == guarded(kernel.nft, ["two", "three"])
    assert "policy drop" in here.run(["nft", "list", "chain", "netdev", "jackfield", "one"]).stdout
    unguard(kernel.nft, ["one", "three"])
    assert {"two"} == guarded(kernel.nft)
    unguard(kernel.nft, ["two"])
    assert "" == here.run(["nft", "list", "ruleset"]).stdout


def test_a_foreign_table_is_left_alone(kernel: Kernel, here: NetworkNamespace) -> None:
    """Nothing is put into somebody else's table of the name, nor taken out of it."""
    here.run(["ip", "link", "add", "one", "type", "bridge"])
    here.run(["nft", "add", "table", "netdev", "jackfield"])
    chain = "{ type filter hook ingress device one priority 0; }"
    here.run(["nft", f"add chain netdev jackfield one {chain}"])
    before = here.run(["nft", "list", "ruleset"]).stdout
    with pytest.raises(ForeignObject, match="table netdev jackfield"):
        guard(kernel.nft, ["one"])
    assert set() == guarded(kernel.nft)
    unguard(kernel.nft, ["one"])
    assert before == here.run(["nft", "list", "ruleset"]).stdout
