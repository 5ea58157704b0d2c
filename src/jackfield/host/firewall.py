"""All firewall rules of this host that are not ours, read anew by whoever asks."""

from __future__ import annotations

from jackfield.errors import KernelError
from jackfield.host.ipset import with_ipsets
from jackfield.host.legacy import read_legacy_tables
from jackfield.host.nft.foreign import read_foreign_tables
from jackfield.state.ruleset import Ruleset

__all__ = ["read_ruleset"]


def read_ruleset() -> Ruleset:
    """Return everybody else's rules.  Takes its time, and waits for programs."""
    tables, unseen = read_legacy_tables()
    try:
        tables += read_foreign_tables()
    except KernelError as error:
        unseen.append(f"the rules of nftables cannot be seen: {error}")
    return Ruleset(tables=tuple(with_ipsets(tables)), unseen=tuple(unseen))
