"""The documentation says what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pages import PAGES, fill


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_generated_parts_are_up_to_date(page: Path) -> None:
    """The generated parts are what scripts/docs would write."""
    text = page.read_text(encoding="utf-8")
    assert fill(text, PAGES[page]) == text, "run .venv/bin/python scripts/docs"
