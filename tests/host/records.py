"""A journal of drivers in memory."""

from __future__ import annotations

__all__ = ["MemoryRecords"]


class MemoryRecords:
    """Keeps what drivers record; ``kept`` is all of it."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self.kept: dict[str, str] = {}

    def record(self, key: str) -> str | None:
        """Return what is recorded."""
        return self.kept.get(key)

    def put_record(self, key: str, value: str) -> None:
        """Record."""
        self.kept[key] = value

    def delete_record(self, key: str) -> None:
        """Forget."""
        self.kept.pop(key, None)
