"""Facts with the virtual functions of this host, where a network depends on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from jackfield.host.sriov.pci import is_function, read_functions
from jackfield.state.facts import Facts

__all__ = ["with_functions", "with_functions_below"]


def with_functions(facts: Facts) -> Facts:
    """Return ``facts`` with the virtual functions of the cards that are here.

    The daemon's sysfs may show the interfaces of another network namespace: only those that
    ``facts`` know from netlink count.
    """
    found = {
        physical: tuple(
            one if one.dev is None or one.dev in facts.links else dataclasses.replace(one, dev=None)
            for one in functions
        )
        for physical, functions in read_functions().items()
        if physical in facts.links
    }
    return dataclasses.replace(facts, virtual_functions=found) if found else facts


def with_functions_below(facts: Facts, bridges: Iterable[str]) -> Facts:
    """Return ``facts``, with virtual functions if any may be a port of one of ``bridges``.

    All devices of the host are gone through then, and not whenever a guest is plugged in.
    """
    members = [member for bridge in bridges for member in facts.members(bridge)]
    # A VLAN device may be over one.
    if any(one.kind == "vlan" or (not one.kind and is_function(one.name)) for one in members):
        return with_functions(facts)
    return facts
