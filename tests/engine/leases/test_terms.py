"""When leases are over, by the host's clock and by one that nobody sets."""

from __future__ import annotations

import ipaddress
from uuid import UUID

from jackfield.engine.leases.terms import LeaseTerms
from jackfield.engine.views import LeaseView
from jackfield.model.values import InterfaceName, MacAddress, NetworkName

RED = UUID(int=1)
HOUR, DAY = 3600, 86400


def lease(expires: int, mac: str = "52:54:00:00:00:01") -> LeaseView:
    """Return the lease of one address."""
    return LeaseView(
        network=NetworkName("red"),
        device=InterfaceName("red0"),
        mac=MacAddress(mac),
        address=ipaddress.ip_address("10.0.0.10"),
        prefix=24,
        expires=expires,
    )


def test_a_lease_that_is_over_by_the_hosts_clock_alone() -> None:
    """It outlasts that as long as it was to last, and is over then."""
    terms, given = LeaseTerms(), lease(1000 + HOUR)
    assert [] == terms.outlasting(RED, [given], now=1000, running=50)
    for running in (60, 50 + HOUR - 1):
        assert [given] == terms.outlasting(RED, [], now=1000 + DAY, running=running)
        assert 50 + HOUR == terms.next_end(RED, [given])
    assert [] == terms.outlasting(RED, [], now=1000 + DAY, running=50 + HOUR)
    assert [] == terms.outlasting(RED, [], now=1000 + DAY, running=60)
    assert terms.next_end(RED, []) is None


def test_a_lease_that_ends_as_it_was_to() -> None:
    """What expired, was given back, or is somebody else's now, does not outlast anything."""
    for leases, now, running in (
        ([], 1000 + HOUR, 50 + HOUR),
        ([], 1010, 60),
        ([lease(1000 + 2 * DAY, "52:54:00:00:00:02")], 1000 + DAY, 60),
    ):
        terms = LeaseTerms()
        terms.outlasting(RED, [lease(1000 + HOUR)], now=1000, running=50)
        assert [] == terms.outlasting(RED, leases, now=now, running=running)


def test_a_lease_that_is_renewed() -> None:
    """Its time begins anew, also when the clock has been set meanwhile; one may have no end."""
    terms = LeaseTerms()
    terms.outlasting(RED, [lease(1000 + HOUR)], now=1000, running=50)
    renewed = lease(1000 + DAY + HOUR)
    assert [] == terms.outlasting(RED, [renewed], now=1000 + DAY, running=60)
    assert [renewed] == terms.outlasting(RED, [], now=1000 + 2 * DAY, running=50 + HOUR)
    assert [] == terms.outlasting(RED, [lease(0)], now=1000, running=60)
    assert [] == terms.outlasting(RED, [], now=1000 + DAY, running=70)
    terms.forget(RED)
    assert [] == terms.outlasting(RED, [], now=1000 + 2 * DAY, running=50 + HOUR)
