"""Veth pairs whose far end is made inside a guest's network namespace."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path

from jackfield.errors import ForeignObject, KernelError, NotFound
from jackfield.host.kernel import Kernel
from jackfield.host.links import LinkDriver, found_mac, found_mtu, identity
from jackfield.host.netlink.link import Link, mark_group, random_group, set_link
from jackfield.host.netlink.message import Message
from jackfield.host.netlink.namespace import call_in_namespace, is_namespace, open_namespace
from jackfield.host.netlink.route import RouteSocket
from jackfield.host.netlink.socket import Refusal
from jackfield.host.netlink.veth import create_veth
from jackfield.model.values import InterfaceName
from jackfield.state.links import VethLink

__all__ = ["VethDriver"]


class VethDriver(LinkDriver[VethLink]):
    """Makes, looks at and removes veth pairs.

    The far end belongs to the guest once it is made: of it, only the namespace is looked at.
    """

    info_kind = "veth"

    def _as_found(self, kernel: Kernel, wanted: VethLink, link: Link) -> VethLink:
        return VethLink(
            name=InterfaceName(link.name),
            alias=link.alias,
            mac=found_mac(wanted.mac, link),
            peer_name=wanted.peer_name,
            peer_netns=wanted.peer_netns if _is_there(kernel, wanted, link) else "",
            peer_mac=wanted.peer_mac,
            mtu=found_mtu(wanted.mtu, link),
        )

    def _create(
        self, kernel: Kernel, resources: Sequence[VethLink]
    ) -> list[tuple[KernelError, VethLink]]:
        refused: list[tuple[KernelError, VethLink]] = []
        made: list[Message] = []
        for veth in resources:
            with open_namespace(veth.peer_netns, f"create veth {veth.name}") as descriptor:
                try:
                    _create_pair(kernel, veth, descriptor)
                except Refusal as refusal:
                    refused.append((refusal, veth))
                    continue
            made.append(set_link(veth.name, f"finish veth {veth.name}", group=0))
        kernel.route.send(made)
        return refused

    def _change(self, kernel: Kernel, wanted: VethLink, present: VethLink) -> None:
        what = f"change veth {wanted.name}"
        index = kernel.route.require_index(wanted.name, what)
        if present.peer_netns != wanted.peer_netns:
            # The far end lives elsewhere; only a new pair gets it where it is wanted.
            kernel.route.delete_links([index])
            for error, _ in self._create(kernel, [wanted]):
                raise error
            return
        changes = identity(wanted, present)
        if changes:
            kernel.route.send([set_link(index, what, **changes)])
        if "mtu" in changes and present.mtu is not None:
            _change_far_mtu(kernel, wanted, present.mtu, changes["mtu"])


def _change_far_mtu(kernel: Kernel, veth: VethLink, former: int, mtu: int) -> None:
    """Give the far end the near one's MTU, unless its guest has chosen another.

    What the guest sends that is longer than the near end takes is dropped.
    """
    near = kernel.route.link(veth.name)

    def change() -> None:
        with contextlib.closing(RouteSocket()) as inside:
            for far in inside.links().values():
                if near is not None and far.index == near.lower and far.mtu == former:
                    inside.send([set_link(far.index, f"change veth {far.name}", mtu=mtu)])

    what = f"change the far end of veth {veth.name}"
    with contextlib.suppress(NotFound), open_namespace(veth.peer_netns, what) as descriptor:
        call_in_namespace(descriptor, change)


def _is_there(kernel: Kernel, wanted: VethLink, link: Link) -> bool:
    """Return whether the far end is in the wanted namespace; a path that is gone proves nothing."""
    if not is_namespace(wanted.peer_netns):
        return True
    with open_namespace(wanted.peer_netns, f"look at veth {wanted.name}") as descriptor:
        if link.lower_netns is None:
            here = Path("/proc/thread-self/ns/net").stat()
            return os.path.samestat(here, os.fstat(descriptor))
        return kernel.route.netns_id(descriptor) == link.lower_netns


def _create_pair(kernel: Kernel, veth: VethLink, descriptor: int) -> None:
    """Make the pair, marked and with the far end up; the near end is in a link group then."""
    try:
        _request(kernel.route, veth, descriptor, peer_first=True)
    except Refusal as refusal:
        if refusal.errno != errno.EEXIST or kernel.route.index(veth.name) is not None:
            raise
        if kernel.route.index(veth.peer_name) is None:
            raise _taken(veth) from refusal
    else:
        return
    try:
        create_pair_from_here(kernel.route, veth, descriptor)
    except Refusal as refusal:
        if refusal.errno == errno.EEXIST:
            raise _taken(veth) from refusal
        raise


def _taken(veth: VethLink) -> ForeignObject:
    return ForeignObject(
        f"network namespace {veth.peer_netns} has an interface {veth.peer_name} already",
        hint="remove it, or choose another name in there: --ifname NAME",
    )


def create_pair_from_here(route: RouteSocket, veth: VethLink, descriptor: int) -> None:
    """Make the pair near end first, and then bring the far end up inside its namespace.

    For Linux before 6.13, which looks for the far end's name among *our* links when the far end
    is the request's main device.
    """
    _request(route, veth, descriptor, peer_first=False)

    def bring_up() -> None:
        with RouteSocket() as inside:
            inside.send([set_link(veth.peer_name, f"bring {veth.peer_name} up", up=True)])

    call_in_namespace(descriptor, bring_up)


def _request(route: RouteSocket, veth: VethLink, descriptor: int, *, peer_first: bool) -> None:
    group = random_group()
    creation = create_veth(
        veth.name,
        veth.mac.packed if veth.mac is not None else None,
        veth.peer_name,
        veth.peer_mac.packed,
        descriptor,
        mtu=veth.mtu,
        group=group,
        peer_first=peer_first,
    )
    route.send([creation, mark_group(group, veth.alias, f"mark veth {veth.name}")])
