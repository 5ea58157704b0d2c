"""iptables of Debian, both kinds of it: nothing is installed."""

from __future__ import annotations

import functools
from pathlib import Path

from tests.lab.host import Host
from tests.lab.layers import lay_over
from tests.lab.packages import Unavailable, unpacked

__all__ = ["ipset_program", "multi_program", "skip_reason", "use_iptables"]

_MULTI = {"iptables-nft": "xtables-nft-multi", "iptables-legacy": "xtables-legacy-multi"}


@functools.cache
def skip_reason() -> str | None:
    """Return why there is no iptables for tests on this machine, or ``None``; may fetch it."""
    try:
        _unpacked()
        ipset_program()
    except Unavailable as error:
        return f"no iptables: {error}"
    return None


def use_iptables(host: Host) -> None:
    """Give a host ``iptables-nft`` and ``iptables-legacy``, with all that belongs to them."""
    lay_over(host, _unpacked())


def multi_program(kind: str) -> tuple[str, dict[str, str]]:
    """Return the program that is all of one kind, by its first word, and its environment."""
    (libraries,) = _unpacked().glob("usr/lib/*-linux-gnu")
    paths = {"LD_LIBRARY_PATH": str(libraries), "XTABLES_LIBDIR": str(libraries / "xtables")}
    return str(_unpacked() / "usr/sbin" / _MULTI[kind]), paths


def ipset_program() -> tuple[str, dict[str, str]]:
    """Return the program ``ipset``, and its environment."""
    root = unpacked("ipset", ("ipset",))
    (libraries,) = root.glob("usr/lib/*-linux-gnu")
    return str(next(root.glob("*sbin/ipset"), root / "usr/sbin/ipset")), {
        "LD_LIBRARY_PATH": str(libraries)
    }


def _unpacked() -> Path:
    return unpacked("iptables", ("iptables",))
