"""What a plan needs to know of IPv6 on this host, from ``/proc/sys``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from jackfield.host.settings import read_setting
from jackfield.model.values import InterfaceName
from jackfield.state.facts import Facts

__all__ = ["with_ipv6"]

_RTPROT_RA = 9


def with_ipv6(facts: Facts) -> Facts:
    """Return ``facts`` with what ``/proc/sys`` says of IPv6 in the calling thread's namespace.

    A route is learned from router advertisements when its protocol says so (``RTPROT_RA``);
    turning on forwarding loses it where ``accept_ra`` is 1 and not 2.
    """
    if not Path("/proc/sys/net/ipv6").exists():
        return dataclasses.replace(facts, ipv6=False)
    learned = {
        route.link
        for route in facts.routes
        if route.protocol == _RTPROT_RA and route.link is not None
    }
    return dataclasses.replace(
        facts,
        ipv6=True,
        ra_interfaces=tuple(
            InterfaceName(name)
            for name in sorted(learned)
            if read_setting(f"net/ipv6/conf/{name}/accept_ra") == "1"
        ),
        ipv6_forwarding=read_setting("net/ipv6/conf/all/forwarding") == "1",
    )
