"""The documentation says what there is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jackfield.engine.records import Registry
from jackfield.errors import NetworkNotFound
from jackfield.web.views import error_json
from tests.pages import PAGES, fill


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
