"""The documentation says what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from jackfield import config
from jackfield.engine.registry import Registry
from jackfield.errors import NetworkNotFound
from jackfield.web.views import error_json
from tests.pages import PAGES, fill

DOCS = Path(__file__).parents[1] / "docs"
KEY = re.compile(r"\| `(?P<key>\w+)` \| (?:`(?P<value>[^`]+)`|[^|]+) \| [^|]+ \|")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_generated_parts_are_up_to_date(page: Path) -> None:
    """The generated parts are what scripts/docs would write."""
    text = page.read_text(encoding="utf-8")
    assert fill(text, PAGES[page]) == text, "run .venv/bin/python scripts/docs"


def test_the_error_that_is_shown_is_the_one_that_comes() -> None:
    """What docs/http.md shows for a network that is not there is what the engine says of it."""
    (page,) = (page for page in PAGES if page.name == "http.md")
    (shown,) = (
        line for line in page.read_text(encoding="utf-8").splitlines() if '{"error"' in line
    )
    with pytest.raises(NetworkNotFound) as caught:
        Registry().network("red")
    assert error_json(caught.value) == json.loads(shown)


def keys_of(page: Path) -> dict[str, str | None]:
    """Return the keys of the configuration that a page has in a table, with their defaults.

    ``None`` stands for a default that is told in words.
    """
    rows = filter(None, map(KEY.fullmatch, page.read_text(encoding="utf-8").splitlines()))
    return {row["key"]: row["value"] for row in rows if row["key"] in config.KEYS}


def test_every_key_of_the_configuration_is_documented() -> None:
    """docs/daemon.md has them all, in the order of the file."""
    assert list(config.KEYS) == list(keys_of(DOCS / "daemon.md"))


@pytest.mark.parametrize("name", ["daemon", "hooks", "bridges", "tls"])
def test_defaults_are_what_the_page_says(name: str, tmp_path: Path) -> None:
    """Who writes a page's defaults into the file has changed nothing."""
    written, empty = tmp_path / "written.toml", tmp_path / "empty.toml"
    keys = keys_of(DOCS / f"{name}.md")
    assert keys
    told = {"libvirt_tls": '"*"'} if "libvirt_tls" in keys else {}
    empty.write_text("".join(f"{key} = {value}\n" for key, value in told.items()))
    told |= {key: value for key, value in keys.items() if value is not None}
    written.write_text("".join(f"{key} = {value}\n" for key, value in told.items()))
    assert config.load(empty) == config.load(written)
