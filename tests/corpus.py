"""Where the documents and dialogues are that were taken from the peer.

They are not part of the repository: ``JACKFIELD_CORPUS`` names their folder, else it is looked
for in a folder ``shared/corpus`` beside the checkout.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

__all__ = ["corpus", "corpus_files", "find_corpus", "needs_corpus"]


def find_corpus() -> Path | None:
    """Return the corpus' folder, or ``None`` where there is none."""
    named = os.environ.get("JACKFIELD_CORPUS")
    if named:
        return Path(named)
    beside = Path(__file__).parents[2] / "shared" / "corpus"
    return beside if beside.is_dir() else None


def corpus(*parts: str) -> Path:
    """Return a path inside the corpus; skips the test where there is no corpus."""
    folder = find_corpus()
    if folder is None:
        pytest.skip("no corpus: set JACKFIELD_CORPUS")
    return folder.joinpath(*parts)


def corpus_files(pattern: str) -> list[Path]:
    """Return the files that a glob below the corpus matches, sorted; none without a corpus.

    For ``pytest.mark.parametrize``, which then skips the test.
    """
    folder = find_corpus()
    return [] if folder is None else sorted(folder.glob(pattern))


needs_corpus = pytest.mark.skipif(find_corpus() is None, reason="no corpus: set JACKFIELD_CORPUS")
