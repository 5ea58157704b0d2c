"""Completion: what is offered, and by the shells themselves."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import jackfield
from jackfield.cli.completion import candidates
from jackfield.cli.main import main
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
    assert ["somebody", "t0"] == candidates([*here, "detach", ""])
    assert ["red one"] == candidates([*here, "detach", "--network", ""])
    assert [":files"] == candidates(["define", ""])
    assert [":files"] == candidates(["--run-dir", ""])
    assert ["bash", "zsh", "fish"] == candidates(["completion", ""])
    assert ["layered"] == candidates(["convert", "-", "--to", "la"])
    assert ["--all", "--active"] == candidates(["list", "--a"])
    assert ["--run-dir", "--json", "--help", "--version"] == candidates(["--"])
    assert [] == candidates([*here, "start", "red", ""])
    assert ["red one"] == candidates([*here, "edit", ""])
    # Any number of them may follow.
    assert ["red one"] == candidates([*here, "doctor", "blue", ""])
    assert [] == candidates(["nothing", ""])
    assert [] == candidates(["attach", "red", "--mac", ""])
    # What follows the dashes is another program's line.
    for words in ([""], ["qemu", ""], ["qemu", "-drive", "/di"], ["qemu", "-m"]):
        assert [":files"] == candidates(["run", "--nic", "network=red", "--", *words])


def test_a_script_is_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Who asks for JSON is refused, and not given what is none."""
    with pytest.raises(SystemExit) as ended:
        main(["completion", "bash", "--json"])
    assert 2 == ended.value.code
    told = capsys.readouterr()
    assert "" == told.out
    assert "usage-error" == json.loads(told.err)["error"]["name"]


def test_no_daemon_is_no_error(tmp_path: Path) -> None:
    """Nothing is offered, and nothing printed, when no daemon answers."""
    assert [] == candidates(["--run-dir", os.fspath(tmp_path), "start", ""])


# Says what else it was called with: what a shell has made of a line.
PROGRAM = f"""#!{sys.executable}
import sys
if sys.argv[1] in ("completion", "__complete"):
    from jackfield.cli.main import main
    main()
else:
    print("called:", sys.argv[1:])
"""


@pytest.fixture
def shell(served: Served, tmp_path: Path) -> dict[str, str]:
    """Give the environment of a shell that has the program in its path; it runs in ``tmp_path``."""
    program = tmp_path / "jackfield"
    program.write_text(PROGRAM, encoding="utf-8")
    program.chmod(0o755)
    (tmp_path / "red.xml").touch()
    return {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": os.fspath(Path(jackfield.__file__).parents[1]),
        "JACKFIELD_RUN_DIR": os.fspath(served.run_dir),
        "HOME": os.fspath(tmp_path),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
    }


def ask(shell: dict[str, str], *command: str) -> list[str]:
    """Return the lines that a command prints, which has nothing to complain of."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=shell["HOME"], env=shell
    )
    assert "" == done.stderr
    return done.stdout.splitlines()


def in_bash(shell: dict[str, str], *words: str) -> list[str]:
    """Return what bash offers in place of the last word."""
    script = """
        source <(jackfield completion bash)
        COMP_WORDS=(jackfield "$@")
        COMP_CWORD=$#
        _jackfield
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    return ask(shell, "bash", "--norc", "-c", script, "bash", *words)


def test_bash(shell: dict[str, str]) -> None:
    """Bash completes commands, files, and names with their spaces quoted."""
    assert ["start", "stop"] == in_bash(shell, "st")
    assert ["red\\ one"] == in_bash(shell, "start", "r")
    assert ["red.xml"] == in_bash(shell, "define", "re")


def in_fish(shell: dict[str, str], line: str) -> list[str]:
    """Return what fish offers at the end of a line."""
    script = "jackfield completion fish | source; complete -C $argv[1]"
    return ask(shell, "fish", "--no-config", "-c", script, line)


def test_fish(shell: dict[str, str]) -> None:
    """Fish completes commands, options, files, and names."""
    assert ["start", "stop"] == in_fish(shell, "jackfield st")
    assert ["--active", "--all"] == in_fish(shell, "jackfield list --a")
    assert ["red one"] == in_fish(shell, "jackfield start r")
    assert ["red.xml"] == in_fish(shell, "jackfield define re")
    assert ["red one", "red.xml"] == in_fish(shell, "jackfield plan re")


COMPINIT = "autoload -U compinit; compinit -u -D"
SOURCE = "source <(jackfield completion zsh)"


def in_zsh(shell: dict[str, str], setup: tuple[str, ...], *lines: str) -> list[str]:
    """Return what the program is called with when each line is typed, completed and entered.

    zsh completes nothing but what is typed at a terminal.
    """
    ours, theirs = pty.openpty()
    command = ("setsid", "--ctty", "zsh", "-f", "-i")
    said = b""
    with (
        os.fdopen(ours, "r+b", buffering=0) as terminal,
        subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=shell["HOME"], env=shell
        ) as zsh,
    ):
        os.close(theirs)
        for line in setup:
            terminal.write(f"{line}\n".encode())
        for line in lines:
            terminal.write(f"{line}\t\n".encode())
        try:
            while said.count(b"called:") < len(lines):
                assert select.select([terminal], [], [], 10)[0], said.decode()
                said += terminal.read(4096)
        finally:
            zsh.kill()
    return [
        line.strip() for line in said.decode().splitlines() if line.strip().startswith("called:")
    ]


def test_zsh(shell: dict[str, str]) -> None:
    """Zsh completes commands, options, files, and names with their spaces quoted."""
    called = in_zsh(
        shell,
        (COMPINIT, SOURCE),
        "jackfield sto",
        "jackfield show --ina",
        "jackfield start r",
        "jackfield define re",
    )
    assert [
        "called: ['stop']",
        "called: ['show', '--inactive']",
        "called: ['start', 'red one']",
        "called: ['define', 'red.xml']",
    ] == called


@pytest.mark.parametrize(
    "setup",
    [
        # Of somebody whose zsh completes nothing yet.
        (SOURCE,),
        # As a distribution's packages do it.
        ("mkdir f; jackfield completion zsh >f/_jackfield", "fpath=($PWD/f $fpath)", COMPINIT),
    ],
)
def test_zsh_by_other_ways(shell: dict[str, str], setup: tuple[str, ...]) -> None:
    """The script begins what it needs, and may be a file that zsh loads when it is asked."""
    assert ["called: ['stop']", "called: ['stop']"] == in_zsh(
        shell, setup, "jackfield sto", "jackfield sto"
    )
