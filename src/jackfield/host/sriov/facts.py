"""Virtual functions as facts."""

from __future__ import annotations

import dataclasses

from jackfield.host.sriov.pci import read_functions
from jackfield.state.facts import Facts

__all__ = ["with_functions"]


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
