"""The documents that are measured: the same text goes to both daemons."""

from __future__ import annotations

__all__ = ["gateway", "idle_network", "nat_network"]


def gateway(number: int) -> str:
    """Return the host's address in network ``number``, whose subnet is its /24."""
    return f"10.{number >> 8}.{number & 255}.1"


def nat_network(number: int, *, services: bool = True) -> str:
    """Return NAT network ``bench-NUMBER``, with DHCP and DNS or with neither."""
    subnet = gateway(number).rpartition(".")[0]
    dns = "" if services else "<dns enable='no'/>"
    dhcp = f"<dhcp><range start='{subnet}.2' end='{subnet}.254'/></dhcp>" if services else ""
    return (
        f"<network><name>bench-{number}</name><forward mode='nat'/>"
        f"<bridge stp='off'/>{dns}"
        f"<ip address='{subnet}.1' netmask='255.255.255.0'>{dhcp}</ip></network>"
    )


def idle_network(number: int) -> str:
    """Return network ``idle-NUMBER``, which is only defined: everything in it is given."""
    return (
        f"<network><name>idle-{number}</name><forward mode='nat'/>"
        f"<bridge name='idle{number}' stp='off'/>"
        f"<ip address='{gateway(number)}' netmask='255.255.255.0'/></network>"
    )
