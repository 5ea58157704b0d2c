"""Completion: what is offered, and by bash itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import jackfield
from jackfield.cli.completion import candidates
from tests.web.fake import Served, serve

RED = "<network><name>red one</name><ip address='192.168.7.1' prefix='24'/></network>"


@pytest.fixture
def served() -> Iterator[Served]:
    """Give a server with a network of which the name has a space, and one port."""
    with serve() as server:
        server.client.request("POST", "/v1/networks", RED)
        server.client.request("POST", "/v1/networks/red%20one/ports", {"tap": "t0"})
        yield server


def test_candidates(served: Served) -> None:
    """Commands, options, choices, and what the daemon knows."""
    here = ["--run-dir", os.fspath(served.run_dir)]
    assert ["start", "stop"] == candidates(["st"])
    assert ["red one"] == candidates([*here, "start", ""])
    assert ["red one"] == candidates(["start", *here, "red"])
    assert [":files", "red one"] == candidates(["plan", *here, ""])
    assert ["t0"] == candidates([*here, "detach", ""])
    assert ["red one"] == candidates([*here, "detach", "--network", ""])
    assert [":files"] == candidates(["define", ""])
    assert [":files"] == candidates(["--run-dir", ""])
    assert ["bash", "zsh", "fish"] == candidates(["completion", ""])
    assert ["--all", "--active"] == candidates(["list", "--a"])
    assert ["--run-dir", "--json", "--help", "--version"] == candidates(["--"])
    assert [] == candidates([*here, "start", "red", ""])
    assert [] == candidates(["nothing", ""])
    assert [] == candidates(["attach", "red", "--mac", ""])


def test_no_daemon_is_no_error(tmp_path: Path) -> None:
    """Nothing is offered, and nothing printed, when no daemon answers."""
    assert [] == candidates(["--run-dir", os.fspath(tmp_path), "start", ""])


def in_bash(served: Served, tmp_path: Path, *words: str) -> list[str]:
    """Return what bash offers in place of the last word."""
    program = tmp_path / "jackfield"
    program.write_text(
        f"#!{sys.executable}\nfrom jackfield.cli.main import main\nmain()\n", encoding="utf-8"
    )
    program.chmod(0o755)
    script = """
        source <(jackfield completion bash)
        COMP_WORDS=(jackfield "$@")
        COMP_CWORD=$#
        _jackfield
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "PYTHONPATH": os.fspath(Path(jackfield.__file__).parents[1]),
            "JACKFIELD_RUN_DIR": os.fspath(served.run_dir),
        },
    )
    assert "" == done.stderr
    return done.stdout.split("\n")[:-1]


def test_bash(served: Served, tmp_path: Path) -> None:
    """Bash completes commands, files, and names with their spaces quoted."""
    (tmp_path / "red.xml").touch()
    assert ["start", "stop"] == in_bash(served, tmp_path, "st")
    assert ["red\\ one"] == in_bash(served, tmp_path, "start", "r")
    assert ["red.xml"] == in_bash(served, tmp_path, "define", "re")
