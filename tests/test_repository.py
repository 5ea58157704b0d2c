"""Rules of the repository that no other tool checks."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import jackfield
from tests import reports

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-dev.lock")


def tracked_texts() -> dict[str, str]:
    """Return path and text of every file that git knows and that is text."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    texts = {}
    for name in listed.stdout.split("\0"):
        path = ROOT / name
        if name and path.is_file():
            try:
                texts[name] = path.read_text()
            except UnicodeDecodeError:
                continue
    return texts


def project() -> dict[str, object]:
    """Return pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_no_path_of_a_machine() -> None:
    """No file names the folder of this checkout, or one like those that checkouts are made in."""
    # The class keeps this very line from matching.
    pattern = re.compile(rf"{re.escape(str(ROOT))}(?![\w-])|/(?:[w]ork|[f]arm)/\w")
    found = {
        f"{name}:{number}"
        for name, text in tracked_texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    }
    assert set() == found


def test_numbers_and_their_nouns() -> None:
    """What is told to people has no "1 networks": ``counted`` puts numbers and nouns together."""
    nouns = "change|element|function|interface|lease|link|network|port"
    number = r"(?:%d|\{(?:count|number|total|len\(.*?\))\})"
    pattern = re.compile(rf"{number} (?:[a-z]+ )?(?:{nouns})s\b")
    found = {
        f"{name}:{number}"
        for name, text in tracked_texts().items()
        # Those of the protocol are limits that were passed, never 1.
        if name.startswith("src/") and name != "src/jackfield/rpc/procedures.py"
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    }
    assert set() == found


def test_locks_have_hashes_and_no_addresses() -> None:
    """A lock pins each package by hash and says nothing about where it comes from."""
    for lock in LOCKS:
        text = (ROOT / lock).read_text()
        assert "://" not in text
        assert re.search(r"^\s*-", text.replace("--hash=", ""), re.MULTILINE) is None
        pinned = re.split(r"\n(?=\w)", text.partition("scripts/lock\n")[2])
        for requirement in pinned:
            assert re.match(r"[\w.-]+==\S+", requirement), requirement
            assert "--hash=sha256:" in requirement


def test_no_registry_in_the_repository() -> None:
    """No file says where packages are downloaded from."""
    pattern = re.compile(r"--(?:extra-)?index-url|pypi\.org|pythonhosted|npmjs")
    own = {Path(__file__).relative_to(ROOT).as_posix(), "scripts/lock"}
    found = {
        name
        for name, text in tracked_texts().items()
        if name not in own and pattern.search(text.replace("--no-emit-index-url", ""))
    }
    assert set() == found


def test_locks_hold_what_the_project_asks_for() -> None:
    """Every declared dependency is in the lock that is to hold it."""
    text = project()
    declared = text["project"]["dependencies"] + text["dependency-groups"]["build"]  # type: ignore[index]
    for lock, wanted in (
        ("requirements.lock", declared),
        ("requirements-dev.lock", declared + text["dependency-groups"]["dev"]),  # type: ignore[index]
    ):
        pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / lock).read_text(), re.MULTILINE))
        assert set() == {re.split(r"[\[<>=]", one)[0] for one in wanted} - pinned


def test_locks_agree() -> None:
    """Tests run with the very packages that the daemon is installed with."""
    run, dev = (
        dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))
        for lock in LOCKS
    )
    assert run == {name: dev.get(name) for name in run}


def test_one_version() -> None:
    """The package says the version that is declared."""
    assert project()["project"]["version"] == jackfield.__version__  # type: ignore[index]


@pytest.mark.parametrize(
    "name",
    [
        path.relative_to(ROOT).as_posix()
        for path in [*sorted(ROOT.glob("scripts/*")), ROOT / ".ci/run"]
        if path.is_file() and path.read_bytes().startswith(b"#!/usr/bin/env bash\n")
    ],
)
def test_scripts_stop_at_errors(name: str) -> None:
    """Scripts can be executed, parse, and end at the first error."""
    path = ROOT / name
    assert os.access(path, os.X_OK)
    assert "set -euo pipefail" in path.read_text()
    subprocess.run(["bash", "-n", path], check=True)


def test_readme_names_the_commands() -> None:
    """The README tells the command that is run for every change."""
    text = (ROOT / "README.md").read_text()
    assert "scripts/test" in text
    assert "scripts/demo" in text


def test_expected_skips_have_reasons() -> None:
    """Each line of expected-skips says why."""
    expected = reports.read_expected((ROOT / "tests" / "expected-skips").read_text())
    assert all(expected.values())
    with pytest.raises(ValueError, match="no reason"):
        reports.read_expected("tests.test_x::test_y\n")


def test_reports_are_read(tmp_path: Path) -> None:
    """Totals are summed, and a skip that is not expected fails the run."""
    (tmp_path / "unit.xml").write_text(
        '<testsuites><testsuite tests="4" failures="1" errors="0" skipped="1">'
        '<testcase classname="tests.a" name="test_b"><skipped type="pytest.skip" message="no c"/>'
        "</testcase></testsuite></testsuites>"
    )
    report = [tmp_path / "unit.xml"]
    assert {"passed": 2, "failed": 1, "skipped": 1} == reports.totals(report)
    assert {"tests.a::test_b": "no c"} == reports.skips(report)
    listed = tmp_path / "skips"
    listed.write_text("# remark\n")
    assert 1 == reports.main([str(tmp_path), "--skips", str(listed)])
    listed.write_text("tests.a::* # there is no c here\n")
    assert 0 == reports.main([str(tmp_path), "--skips", str(listed)])
    assert 1 == reports.main([str(tmp_path), "unit", "kernel"])
