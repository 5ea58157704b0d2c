"""A file or a network: what a word is taken for, and what is said to who meant the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_commands import RED, Cli, call
from tests.web.fake import serve


@pytest.fixture
def cli() -> Iterator[Cli]:
    """Give a command line and its server."""
    with serve() as served:
        yield Cli(served)


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_a_file_or_a_network(cli: Cli, tmp_path: Path, command: str) -> None:
    """The word alone says which it is, whatever lies in the directory or runs."""
    here, nowhere = cli.run_dir, str(tmp_path)
    for missing in ("RDE.JSON", "./rde"):
        outcome = call(command, missing, "--run-dir", here, cwd=tmp_path)
        said = f"jackfield: error: cannot read {missing}: No such file or directory\n"
        assert (2, said) == (outcome.status, outcome.err)
    cli.good("define", "-", stdin=RED)
    (tmp_path / "red").touch()
    outcome = call(command, "red", "--run-dir", here, cwd=tmp_path)
    assert (0, "") == (outcome.status, outcome.err)
    # Who meant another is told how to say so.
    outcome = call(command, "rde", "--run-dir", here, cwd=tmp_path)
    assert (4, True) == (outcome.status, "no network 'rde'" in outcome.err)
    assert "; a file has a name with .xml or .json at its end, or a slash\n" in outcome.err
    (tmp_path / "a document").write_text(RED)
    way = f"the file of this name is taken by: jackfield {command} './a document'\n"
    outcome = call(command, "a document", "--run-dir", here, cwd=tmp_path)
    assert (4, True) == (outcome.status, outcome.err.endswith(f"  hint: {way}"))
    outcome = call(command, "a document", "--run-dir", nowhere, cwd=tmp_path)
    assert (8, True) == (outcome.status, outcome.err.endswith(f"; {way}"))
    assert 0 == call(command, "./a document", "--run-dir", here, cwd=tmp_path).status


def test_a_file_where_a_network_is_meant(cli: Cli, tmp_path: Path) -> None:
    """It is said that this is a file, and what is done with those."""
    document = tmp_path / "red.xml"
    document.write_text(RED)
    hint = "  hint: this is a file; store the network first: jackfield define {}\n"
    for words, name, status in (
        (["start"], "red.xml", 4),
        (["attach", "--tap", "t0"], str(document), 3),
        (["doctor"], "red.xml", 4),
    ):
        outcome = call(*words, name, "--run-dir", cli.run_dir, cwd=tmp_path)
        assert status == outcome.status
        assert outcome.err.endswith(hint.format(name))
    assert "see: jackfield list" in cli("start", "rde.xml").err
    assert "see: jackfield list" in cli("doctor", "blue", str(document)).err


def test_a_wrong_document_is_named(cli: Cli, tmp_path: Path) -> None:
    """By its file, whoever has found the fault, in every command that takes one."""
    document = tmp_path / "red.xml"
    document.write_text(RED.replace("'nat'", "'natt'"))
    for command in ("check", "plan", "define", "apply"):
        outcome = cli(command, str(document))
        assert 3 == outcome.status
        assert f"jackfield: error: {document}: line 4: <forward> has mode='natt'" in outcome.err
    outcome = cli("convert", "-", stdin=document.read_text())
    assert "jackfield: error: standard input: line 4: <forward> has mode='natt'" in outcome.err
