"""What is said where the kernel lacks a feature."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from jackfield.host import modules
from jackfield.host.modules import missing_module_hint
from jackfield.host.netlink.message import Message
from jackfield.host.netlink.socket import Refusal
from jackfield.host.nft.message import get_table
from jackfield.host.nft.socket import NftSocket


class WithoutTables(NftSocket):
    """Answers as Linux 6.1 does without nf_tables."""

    def __init__(self) -> None:
        """Open nothing."""
        self._first = self._last = None

    def request(self, message: Message) -> list[object]:  # type: ignore[override]
        """Refuse a question."""
        raise Refusal(f"cannot {message.what}: EINVAL (Invalid argument)", errno=errno.EINVAL)

    def batch(self, messages: Sequence[Message], *, atomic: bool = False) -> list[Refusal]:
        """Refuse a batch by its opening."""
        assert atomic
        number = errno.EOPNOTSUPP
        return [Refusal(f"cannot {messages[0].what}: EOPNOTSUPP", errno=number)]


def test_a_kernel_without_nf_tables() -> None:
    """There are no tables, so that nothing is to be removed; what is to be made is refused."""
    socket = WithoutTables()
    assert socket.get(get_table()) is None
    assert 0 == socket.generation()
    with pytest.raises(Refusal, match="the kernel has no nf_tables: cannot look at") as refused:
        socket.commit([get_table()])
    assert "CONFIG_NF_TABLES" in (refused.value.hint or "")


def test_why_modules_are_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be those of another version by now, or nothing may be loaded any more."""
    disabled = tmp_path / "modules_disabled"
    monkeypatch.setattr(modules, "_FOLDERS", (tmp_path / "modules",))
    monkeypatch.setattr(modules, "_DISABLED", disabled)
    release = os.uname().release
    assert f"there is no {tmp_path}/modules/{release}" in missing_module_hint("CONFIG_X")
    (tmp_path / "modules" / release).mkdir(parents=True)
    assert "see its CONFIG_X options" in missing_module_hint("CONFIG_X")
    disabled.write_text("1\n")
    assert "kernel.modules_disabled is 1" in missing_module_hint("CONFIG_X")
