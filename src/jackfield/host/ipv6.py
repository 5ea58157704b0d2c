"""What a plan needs to know of IPv6 on this host, from ``/proc/sys``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from jackfield.host.settings import IPV6_FORWARDING, learned_from_routers, read_setting
from jackfield.model.values import InterfaceName
from jackfield.state.facts import Facts

__all__ = ["with_ipv6"]


def with_ipv6(facts: Facts) -> Facts:
    """Return ``facts`` with what ``/proc/sys`` says of IPv6 in the calling thread's namespace.

    ``ra_interfaces`` are those that would lose a route if the host forwarded.
    """
    if not Path("/proc/sys/net/ipv6").exists():
        return dataclasses.replace(facts, ipv6=False)
    learned = {
        route.link
        for route in facts.routes
        if route.link is not None and learned_from_routers(route.protocol, route.link)
    }
    return dataclasses.replace(
        facts,
        ipv6=True,
        ra_interfaces=tuple(InterfaceName(name) for name in sorted(learned)),
        ipv6_forwarding=read_setting(IPV6_FORWARDING) == "1",
    )
