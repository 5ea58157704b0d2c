"""Rules of others as nft writes them, for people; nothing depends on it."""

from __future__ import annotations

import re
import shutil
import subprocess

__all__ = ["has_nft", "list_rules"]

_TIMEOUT = 10
_RULE = re.compile(r"(?P<text>.*) # handle (?P<handle>\d+)")
_NO_RULES = ("\t\ttype ", "\t\tcomment ")


def has_nft() -> bool:
    """Tell whether nft is installed."""
    return shutil.which("nft") is not None


def list_rules(family: str, table: str, chain: str) -> dict[int, str]:
    """Return the rules of a chain by their handles; none where nft does not say.

    Waits for a program: not for the event loop.
    """
    try:
        done = subprocess.run(
            ["nft", "--handle", "list", "chain", family, table, chain],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    found: dict[int, str] = {}
    pending = ""
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        if not line.startswith("\t\t") or line.startswith(_NO_RULES):
            continue
        # A rule with a long set stands on several lines, and its handle at the end of the last.
        pending = f"{pending} {line.strip()}".strip()
        match = _RULE.fullmatch(pending)
        if match is not None:
            found[int(match["handle"])] = match["text"]
            pending = ""
    return found
