"""Devices whose frames the host itself must not see: ``table netdev jackfield``.

A switch in user space reads frames through a packet socket, which gets a copy: the host's own
stack sees every frame as well, and would answer whatever is asked of any of its addresses.  A
chain of policy drop at the device's ingress comes after the packet socket and before the stack::

    table netdev jackfield {
        chain jf0123456789 {
            type filter hook ingress device "jf0123456789" priority filter; policy drop;
        }
    }
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from jackfield.host.netlink.route import ONE_BY_ONE_LIMIT
from jackfield.host.nft.message import TABLE_NAME
from jackfield.host.nft.netdevtable import DROP, NetdevTable
from jackfield.host.nft.socket import NftSocket

__all__ = ["guard", "guarded", "unguard"]

_TABLE = NetdevTable(TABLE_NAME, DROP)


def guard(nft: NftSocket, devices: Iterable[str]) -> None:
    """Let nothing that comes in by ``devices`` reach the host's stack; again changes nothing.

    Raises ``ForeignObject`` if somebody else has a table of the name.
    """
    chains = [_TABLE.add_chain(device) for device in devices]
    if chains:
        _TABLE.refuse_foreign(nft)
        nft.commit([_TABLE.add(), *chains])


def guarded(nft: NftSocket, devices: Collection[str] | None = None) -> set[str]:
    """Return those of ``devices`` that have a chain of ours, or all devices that have one."""
    if not _TABLE.is_ours(nft):
        return set()
    if devices is not None and len(devices) <= ONE_BY_ONE_LIMIT:
        return {device for device in devices if nft.get(_TABLE.get_chain(device)) is not None}
    names = _TABLE.chains(nft)
    return names if devices is None else names & set(devices)


def unguard(nft: NftSocket, devices: Collection[str]) -> None:
    """Remove the chains of ``devices``, and the table with the last one."""
    if not devices:
        return
    present = sorted(guarded(nft, devices))
    if present:
        nft.commit([_TABLE.delete_chain(device) for device in present])
    _TABLE.remove_empty(nft)
