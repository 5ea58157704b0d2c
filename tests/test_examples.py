"""What the pages show can be used as it stands: documents, command lines, configuration."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from jackfield import config, offline
from jackfield.cli.commands import COMMANDS, find
from jackfield.cli.parser import parse, split
from jackfield.errors import UnsupportedConfiguration

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MANAGED = """
<forward mode='bridge'/>
<bridge name='br0'><uplinks><interface dev='eth0'/></uplinks></bridge>
"""
SUBNET = "<ip address='10.0.0.1' prefix='24'/>"
KEY = "A" * 43 + "="


def blocks(page: Path) -> Iterator[str]:
    """Yield what a page shows: text between fences, and indented text."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```\w*\n(.*?)^```$|((?:^    [^\n]*\n|^\n)+)", text, re.M | re.S):
        shown = match[1] or re.sub("^    ", "", match[2], flags=re.M)
        if shown.strip():
            yield shown


def documents() -> Iterator[object]:
    """Yield the documents of all pages, with what their text leaves out filled in."""
    for page in PAGES:
        for block in blocks(page):
            match = re.search(r"<(network|forward|portgroup|vpn|bridge)\b.*>", block, re.S)
            if match is None:
                continue
            text = match[0].replace("publicKey='…'", f"publicKey='{KEY}'")
            text = text.replace("…", "<name>red</name>")
            if match[1] != "network":
                forward = "" if "<forward" in text else MANAGED
                subnet = SUBNET if "mode='nat'" in text else ""
                text = f"<network><name>red</name>{forward}{text}{subnet}</network>"
            yield pytest.param(text, id=f"{page.stem}-{match[1]}")


def command_lines() -> Iterator[object]:
    """Yield what all pages show of ``jackfield``'s command lines, without the comments on them."""
    names = "|".join(command.name for command in COMMANDS)
    for page in PAGES:
        if page.name == "cli.md":
            # It is made from the commands themselves.
            continue
        shown = "\n".join(blocks(page))
        inline = re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8"))
        for line in [*shown.splitlines(), *inline]:
            match = re.match(rf"jackfield (?:{names})\b.*", line)
            # Three spaces, or two and a #, come before what is said of a line.
            words = [] if match is None else shlex.split(re.split(r"  +#|   +", match[0])[0])
            if len(words) > 2:
                yield pytest.param(words[1:], id=f"{page.stem}-{words[1]}")


@pytest.mark.parametrize("text", list(documents()))
def test_documents_can_be_planned(text: str) -> None:
    """A document is valid, and planned where this version can start it, with nothing around."""
    source = text.encode()
    offline.check(source)
    if "<portForward" in text or "<vpn" in text:
        with pytest.raises(UnsupportedConfiguration, match="this version"):
            offline.plan(source)
    else:
        offline.plan(source)


@pytest.mark.parametrize("words", list(command_lines()))
def test_command_lines_can_be_typed(words: list[str]) -> None:
    """A command has the words and options that a page gives it."""
    name, rest = split(words)
    command = None if name is None else find(name)
    assert command is not None
    parse(command, [word.partition("|")[0] for word in rest])


def test_configurations_can_be_written(tmp_path: Path) -> None:
    """What stands in a page as TOML is a configuration."""
    path = tmp_path / "jackfieldd.toml"
    found = 0
    for page in PAGES:
        for block in blocks(page):
            lines = [line for line in block.splitlines() if not line.startswith("virsh ")]
            try:
                values = tomllib.loads("\n".join(lines))
            except tomllib.TOMLDecodeError:
                continue
            if values:
                path.write_text("\n".join(lines))
                config.load(path)
                found += 1
    assert found >= 3
