"""``jackfield edit``: real processes, editors that are scripts, against a real server."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

import jackfield
from tests.cli.test_commands import PROGRAM, RED, Outcome, call
from tests.web.fake import Served, serve


class Editor:
    """Editors for one network of one server, whose files are below ``folder``."""

    def __init__(self, served: Served, folder: Path) -> None:
        self.served = served
        self.folder = folder
        self.env = {"JACKFIELD_RUN_DIR": os.fspath(served.run_dir), "TMPDIR": os.fspath(folder)}

    def script(self, *lines: str) -> str:
        path = self.folder / "editor"
        path.write_text("\n".join(["#!/bin/sh", "set -e", *lines]) + "\n")
        path.chmod(0o755)
        return os.fspath(path)

    def __call__(self, *lines: str, words: tuple[str, ...] = ()) -> Outcome:
        env = {**self.env, "EDITOR": self.script(*lines), "VISUAL": ""}
        return call("edit", "red", *words, env=env)

    def show(self) -> str:
        return call("show", "red", "--inactive", env=self.env).out

    def kept(self) -> list[Path]:
        return sorted(self.folder.glob("jackfield-*"))

    def on_terminal(self, answers: str, *lines: str) -> tuple[int, str]:
        """Edit on a terminal, where ``answers`` are typed; return status and all that it said."""
        terminal, end = pty.openpty()
        source = os.fspath(Path(jackfield.__file__).parents[1])
        process = subprocess.Popen(
            [*PROGRAM, "edit", "red"],
            stdin=end,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **os.environ,
                **self.env,
                "PYTHONPATH": source,
                "VISUAL": self.script(*lines),
            },
        )
        os.close(end)
        os.write(terminal, answers.encode())
        said, _ = process.communicate(timeout=30)
        os.close(terminal)
        return process.returncode, said


@pytest.fixture
def editor(tmp_path: Path) -> object:
    """Give an editor of the network red, which is defined."""
    with serve() as served:
        made = Editor(served, tmp_path)
        document = tmp_path / "red.xml"
        document.write_text(RED)
        assert 0 == call("define", str(document), env=made.env).status
        yield made


def test_a_change_is_defined(editor: Editor) -> None:
    """What is written is stored, and the next step named; nothing is left behind."""
    outcome = editor('sed -i s/192.168.7.9/192.168.7.8/ "$1"')
    assert (0, "Network red is defined; start it with: jackfield start red\n", "") == (
        outcome.status,
        outcome.out,
        outcome.err,
    )
    assert "192.168.7.8" in editor.show()
    call("start", "red", env=editor.env)
    outcome = editor('sed -i s/192.168.7.8/192.168.7.7/ "$1"')
    assert "what runs differs, until: jackfield apply red" in outcome.out
    outcome = editor('sed -i s/192.168.7.7/192.168.7.8/ "$1"')
    assert "Network red is defined, and runs so already.\n" == outcome.out
    outcome = editor('sed -i s/192.168.7.8/192.168.7.6/ "$1"', words=("--layered", "--json"))
    assert "red" == json.loads(outcome.out)["name"]
    assert "192.168.7.6" in editor.show()
    assert [] == editor.kept()


def test_no_change(editor: Editor) -> None:
    """Who changes nothing is told so."""
    outcome = editor("true")
    assert (0, "Network red is not changed.\n") == (outcome.status, outcome.out)
    assert [] == editor.kept()


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("sed -i s/192.168.7.9/192.168.7.999/", 3, "192.168.7.999"),
        ("sed -i s/bridge/brigde/", 3, "brigde"),
        ("sed -i 's/<name>red/<name>blue/'", 3, "the name of network 'red' cannot be edited"),
        ("sed -i 's/<uuid>......../<uuid>00000000/'", 3, "the uuid of network 'red' cannot"),
        ("truncate -s 0", 3, ""),
    ],
)
def test_what_is_refused_is_kept(editor: Editor, command: str, status: int, said: str) -> None:
    """Without a terminal nobody is asked, and what was written is in a file that is named."""
    before = editor.show()
    outcome = editor(f'{command} "$1"')
    assert (status, "") == (outcome.status, outcome.out)
    assert said in outcome.err
    (file,) = editor.kept()
    assert f"what you wrote is kept in {file}" in outcome.err
    assert before == editor.show()


def test_an_editor_that_fails(editor: Editor) -> None:
    """A broken editor is named, and leaves no file that nothing was written to."""
    outcome = editor("exit 3")
    assert 2 == outcome.status
    assert "ended with status 3" in outcome.err
    assert [] == editor.kept()


def test_somebody_else_was_faster(editor: Editor) -> None:
    """What another has defined meanwhile is not overwritten."""
    other = RED.replace("192.168.7.9", "192.168.7.5")
    (editor.folder / "other.xml").write_text(other)
    program = " ".join(f"'{word}'" for word in PROGRAM)
    outcome = editor(
        f"{program} define {editor.folder}/other.xml",
        'sed -i s/192.168.7.9/192.168.7.8/ "$1"',
    )
    assert 5 == outcome.status
    assert "somebody else changed network 'red'" in outcome.err
    (file,) = editor.kept()
    assert str(file) in outcome.err
    assert "192.168.7.8" in file.read_text()
    assert "192.168.7.5" in editor.show()


def test_again_on_a_terminal(editor: Editor) -> None:
    """Who is asked may go on with what was written, or leave it."""
    second = 'if grep -q brigde "$1"; then sed -i s/brigde/bridge/ "$1"; exit; fi'
    third = 'sed -i -e s/192.168.7.9/192.168.7.8/ -e s/bridge/brigde/ "$1"'
    status, said = editor.on_terminal("x\ny\n", second, third)
    assert 0 == status, said
    assert 2 == said.count("Edit it again?")
    assert re.search("brigde", said)
    assert "192.168.7.8" in editor.show()
    assert [] == editor.kept()
    status, said = editor.on_terminal("n\n", third.replace("7.9", "7.8").replace("7.8/ ", "7.4/ "))
    assert 3 == status
    assert "network 'red' is not changed" in said
    assert 1 == len(editor.kept())
    assert "192.168.7.8" in editor.show()
