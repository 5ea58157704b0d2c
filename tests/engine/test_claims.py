"""Claims: of two networks that want the same addresses the second one is refused."""

from __future__ import annotations

import ipaddress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jackfield.engine.claims import Claims
from jackfield.engine.records import NetworkRecord
from jackfield.engine.registry import Registry
from jackfield.errors import ForeignObject
from jackfield.model.address import IpNetwork, Subnet
from jackfield.model.mode import Mode
from jackfield.model.network import Bridge, Network
from jackfield.model.values import InterfaceName, NetworkName
from jackfield.plan.network import plan_network
from jackfield.state.hoststate import HostState


def network(number: int, *subnets: IpNetwork) -> Network:
    """Return a NAT network with these subnets."""
    return Network(
        name=NetworkName(f"net{number}"),
        uuid=UUID(int=number),
        mode=Mode.NAT,
        bridge=Bridge(name=InterfaceName(f"virbr{number}")),
        subnets=tuple(
            Subnet(address=subnet.network_address, prefix=subnet.prefixlen) for subnet in subnets
        ),
    )


def started(registry: Registry, claims: Claims, one: Network) -> NetworkRecord:
    """Return the record of a network that runs from now on."""
    assert one.uuid is not None
    record = NetworkRecord(uuid=one.uuid, name=one.name, stored=one)
    registry.add(record)
    record.live, record.present = one, plan_network(one)
    claims.note(record)
    return record


def prefixes(version: int, base: str, bits: int) -> st.SearchStrategy[IpNetwork]:
    """Give subnets of a few addresses, so that many of them overlap."""
    total = 32 if version == 4 else 128
    start = int(ipaddress.ip_address(base))
    return st.builds(
        lambda offset, length: ipaddress.ip_network(
            (start + (offset << 2), total - length), strict=False
        ),
        st.integers(0, 2**bits),
        st.integers(2, bits),
    )


@given(
    st.lists(prefixes(4, "10.0.0.0", 8) | prefixes(6, "fd00::", 8), max_size=12),
    st.data(),
)
def test_whoever_overlaps_is_refused(subnets: list[IpNetwork], data: st.DataObject) -> None:
    """As a look at every one of them says, also after some have ended."""
    registry = Registry()
    claims = Claims(registry)
    present: dict[UUID, IpNetwork] = {}
    for number, subnet in enumerate(subnets, start=1):
        wanted = network(number, subnet)
        assert wanted.uuid is not None
        record = NetworkRecord(uuid=wanted.uuid, name=wanted.name, stored=wanted)
        if any(
            other.version == subnet.version and other.overlaps(subnet) for other in present.values()
        ):
            with pytest.raises(ForeignObject, match=f"subnet {subnet} overlaps"):
                claims.check_free(wanted, record)
            continue
        claims.check_free(wanted, record)
        record = started(registry, claims, wanted)
        present[record.uuid] = subnet
        # What it has is not in its own way.
        claims.check_free(wanted, record)
        if data.draw(st.booleans()):
            record.live, record.present = None, HostState()
            claims.note(record)
            claims.note(record)
            del present[record.uuid]


def test_a_changed_network_has_its_new_subnet() -> None:
    """The former one is free again."""
    registry = Registry()
    claims = Claims(registry)
    former, new = ipaddress.ip_network("10.1.0.0/24"), ipaddress.ip_network("10.2.0.0/24")
    record = started(registry, claims, network(1, former))
    record.live = network(1, new)
    claims.note(record)
    other = NetworkRecord(uuid=UUID(int=2), name=NetworkName("net2"))
    claims.check_free(network(2, former), other)
    with pytest.raises(ForeignObject, match=r"10\.2\.0\.0/25 overlaps .* of network 'net1'"):
        claims.check_free(network(2, ipaddress.ip_network("10.2.0.0/25")), other)
