"""Who may change things, and what others are told."""

from __future__ import annotations

import pytest

from jackfield.access import Caller, require_write
from jackfield.config import Config
from jackfield.errors import AccessDenied

ANNA = Caller(uid=1000, gid=1000, pid=1, groups=frozenset({27}))


@pytest.mark.parametrize(
    ("group", "hint"),
    [
        (None, "name one (the key group of jackfieldd.toml), and restart jackfieldd"),
        (0, "only root or a member of group root may: try again with sudo"),
    ],
)
def test_who_may_not_is_told_who_may(group: int | None, hint: str) -> None:
    """Where there is no group, how there is one."""
    with pytest.raises(AccessDenied, match="user 1000 may look but not change") as refused:
        require_write(ANNA, Config(group=group))
    assert refused.value.hint is not None
    assert hint in refused.value.hint
    with pytest.raises(AccessDenied, match="user 1000 may not see it"):
        require_write(ANNA, Config(group=group), "may not see it")


def test_a_member_may() -> None:
    """Of the configured group, by whichever of his groups."""
    require_write(ANNA, Config(group=27))
    require_write(ANNA, Config(group=1000))
