"""What a call of the command line imports: each module here costs every call."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jackfield
from tests.web.fake import serve

SOURCE = os.fspath(Path(jackfield.__file__).parents[1])

LIST = """
import sys
before = set(sys.modules)
from jackfield.cli.main import main
try:
    main(["list", "--run-dir", sys.argv[1]])
except SystemExit as end:
    assert not end.code, end.code
print(*sorted(set(sys.modules) - before))
"""

ALLOWED_OURS = {
    "jackfield",
    "jackfield.cli",
    "jackfield.cli.command",
    "jackfield.cli.commands",
    "jackfield.cli.main",
    "jackfield.cli.networks",
    "jackfield.cli.output",
    "jackfield.cli.parser",
    "jackfield.cli.source",
    "jackfield.client",
    "jackfield.errors",
}
SLOW = {
    "argparse",
    "asyncio",
    "click",
    "contextlib",
    "dataclasses",
    "http.client",
    "inspect",
    "ipaddress",
    "lxml",
    "msgspec",
    "pathlib",
    "shutil",
    "starlette",
    "subprocess",
    "tempfile",
    "typing",
    "uuid",
}


def test_list_imports_little() -> None:
    """Listing loads the client and nothing that reads documents."""
    with serve() as served:
        done = subprocess.run(
            [sys.executable, "-S", "-c", LIST, served.run_dir],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": SOURCE},
        )
    modules = set(done.stdout.splitlines()[-1].split())
    assert set() == modules & SLOW
    assert ALLOWED_OURS == {name for name in modules if name.startswith("jackfield")}
