"""The benchmarks run: with tiny counts, and without looking at what they measure."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from bench.__main__ import BENCHMARKS, main
from bench.counts import QUICK
from bench.instructions import instructions
from bench.results import Budget, Result, median, ratio, render
from bench.stages import stages
from tests.lab import openvswitch
from tests.lab.libvirtd import skip_reason


def test_a_budget_is_met_at_its_limit() -> None:
    """The limit itself is allowed, from either side; nothing measured is neither."""
    assert True is Budget(text="", measured=2.0, limit=2).met
    assert False is Budget(text="", measured=2.1, limit=2).met
    assert True is Budget(text="", measured=0.97, limit=0.97, at_least=True).met
    assert False is Budget(text="", measured=0.96, limit=0.97, at_least=True).met
    assert None is Budget(text="", measured=None, limit=1).met


def test_one_missed_budget_makes_the_row_missed() -> None:
    """What was not measured does not hide what was missed."""
    met = Budget(text="", measured=1, limit=2)
    row = Result(work="w", unit="ms", ours=1.0, budgets=(met,))
    assert "ok" == row.verdict
    open_ = dataclasses.replace(row, budgets=(met, Budget(text="", measured=None, limit=1)))
    assert "not measured" == open_.verdict
    missed = dataclasses.replace(row, budgets=(*open_.budgets, dataclasses.replace(met, limit=0)))
    assert "missed" == missed.verdict
    assert "no budget" == dataclasses.replace(row, budgets=()).verdict
    assert "not measured" == dataclasses.replace(row, ours=None).verdict


def test_nothing_measured_has_no_median_and_no_ratio() -> None:
    """A peer that is not there gives no figure, rather than a wrong one."""
    assert median([]) is None
    assert ratio(1.0, None) is None
    assert 0.5 == ratio(1.0, 2.0)


def test_the_table_shows_every_row() -> None:
    """Each row is a line, with its figures and its verdict."""
    budget = Budget(text="≤ 0.1 × libvirt", measured=0.05, limit=0.1)
    row = Result(work="start", unit="ms", count=3, ours=5, libvirt=100.4, budgets=(budget,))
    nothing = Result(work="fly", unit="ms", note="no wings")
    lines = render([row, nothing]).splitlines()
    assert 4 == len(lines)
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert ["start", "3", "5 ms", "100 ms", "–", "0.05", "≤ 0.1 × libvirt", "ok"] == cells
    assert "not measured" in lines[3]


@pytest.mark.lab
@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_a_benchmark_runs(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every row of the benchmark has a figure of ours, and the peer's where it has one."""
    reason = openvswitch.skip_reason() if name == "openvswitch" else None
    if reason is not None:
        pytest.skip(reason)
    report = tmp_path / "report.json"
    assert 0 == main([name, "--quick", "--json", str(report)])
    rows = json.loads(report.read_text())["results"]
    assert rows
    for row in rows:
        assert row["ours"] is not None, row
        if skip_reason() is None:
            assert all(budget["measured"] is not None for budget in row["budgets"]), row
    assert rows[0]["work"] in capsys.readouterr().out


@pytest.mark.lab
def test_the_stages_are_told() -> None:
    """The table of stages names what is expected to take time."""
    table = stages(QUICK)
    for stage in ("begin_start", "commit", "ensure bridge", "ensure dnsmasq", "create_port"):
        assert stage in table


@pytest.mark.lab
def test_instructions_are_counted() -> None:
    """The tables name the files that are known to take part."""
    table = instructions(QUICK)
    for file in ("rpc/connection.py", "allocation/allocate.py", "document/reader.py"):
        assert file in table


@pytest.mark.lab
def test_a_profile_is_written(tmp_path: Path) -> None:
    """The profiled daemon works as the other does, and leaves its profile at the end."""
    import pstats

    from bench.hosts import Jackfield
    from bench.networks import nat_network

    output = tmp_path / "profile"
    with Jackfield(module="bench.profiled_daemon", output=output) as ours:
        ours.define(nat_network(0))
        ours.start("bench-0")
    functions = {name for _, _, name in pstats.Stats(str(output)).stats}  # type: ignore[attr-defined]
    assert {"begin_start", "run"} <= functions
