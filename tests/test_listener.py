"""Sockets that the doors listen at."""

from __future__ import annotations

from pathlib import Path

import pytest

from jackfield.errors import ConfigurationError
from jackfield.listener import listen


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    """Who mistypes a path loses nothing."""
    path, target = tmp_path / "sock", tmp_path / "target"
    target.write_text("precious")
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(target)
    with pytest.raises(ConfigurationError, match=f"{path}: something else than a socket is there"):
        listen(path)
    assert path.is_dir() if kind == "directory" else "precious" == path.read_text()


def test_where_there_can_be_no_socket(tmp_path: Path) -> None:
    """A path that is too long, or below what is no directory, is an error that names it."""
    longest = tmp_path / ("x" * (107 - len(str(tmp_path)) - 1))
    listen(longest).close()
    with pytest.raises(ConfigurationError, match=r"is 108 bytes long, and .* may have 107"):
        listen(Path(f"{longest}x"))
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        listen(tmp_path / "none" / "sock")
