"""What tc(8) says of shaping."""

from __future__ import annotations

import re

from tests.lab.namespace import Namespace

__all__ = ["guaranteed", "kibibytes"]


def guaranteed(where: Namespace, link: str) -> dict[str, tuple[int, int]]:
    """Return rate and ceiling of a link's classes, in KiB/s, by their numbers."""
    listing = where.run(["tc", "class", "show", "dev", link]).stdout
    found = re.findall(r"htb 4a46:(\d+) .*rate (\S+) ceil (\S+)", listing)
    return {number: (kibibytes(rate), kibibytes(ceil)) for number, rate, ceil in found}


def kibibytes(text: str) -> int:
    """Return how many KiB/s tc's ``8192Kbit`` is, which tc has rounded."""
    for suffix, factor in (("Mbit", 1_000_000), ("Kbit", 1000), ("bit", 1)):
        if text.endswith(suffix):
            return round(int(text.removesuffix(suffix)) * factor / 8192)
    raise AssertionError(text)
