"""The table that keeps the kernel translating, seen by nft."""

from __future__ import annotations

import pytest

from jackfield.host.kernel import Kernel
from jackfield.host.nft.keeper import ConnectionKeeper
from tests.lab.namespace import NetworkNamespace

pytestmark = pytest.mark.kernel

NAME = "inet jackfield-connections"


def tables(here: NetworkNamespace) -> set[str]:
    """Return the tables there are."""
    listed = here.nft("list", "tables")
    return {f"{one['table']['family']} {one['table']['name']}" for one in listed if "table" in one}


def test_a_flush_passes_over_it(kernel: Kernel, here: NetworkNamespace) -> None:
    """It comes once, outlives a flush, goes when it is given up, and with its owner."""
    keeper = ConnectionKeeper()
    keeper.release(kernel.nft)
    keeper.hold(kernel.nft)
    keeper.hold(kernel.nft)
    here.run(["nft", "add", "table", "inet", "other"])
    here.run(["nft", "flush", "ruleset"])
    assert {NAME} == tables(here)
    keeper.release(kernel.nft)
    assert set() == tables(here)
    keeper.hold(kernel.nft)
    kernel.nft.close()
    assert set() == tables(here)


def test_somebody_elses_is_left_alone(
    kernel: Kernel, here: NetworkNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    """A table of the name stays as it is, and the log says what that means."""
    here.run(["nft", "add", "table", *NAME.split()])
    keeper = ConnectionKeeper()
    keeper.hold(kernel.nft)
    keeper.release(kernel.nft)
    assert {NAME} == tables(here)
    assert "may be reset when somebody flushes all rules" in caplog.text
