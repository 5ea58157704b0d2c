"""Macvlans of ours inside guests' network namespaces."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Sequence

from jackfield.errors import JackfieldError, KernelError, NotFound
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.links import LinkDriver, found_mac, found_mtu, make_each
from jackfield.host.macvtap import found_lower, make_over
from jackfield.host.netlink.link import Link, delete_link
from jackfield.host.netlink.macvlan import macvlan_mode, move_link
from jackfield.host.netlink.namespace import call_in_namespace, open_namespace
from jackfield.host.netlink.route import RouteSocket
from jackfield.state.links import MacvlanLink

__all__ = ["MacvlanDriver"]


class MacvlanDriver(LinkDriver[MacvlanLink]):
    """Makes macvlans here, marks them, and moves them; looks for them in both places.

    What a crash left here is made anew.  In there its name is the guest's to change.
    """

    info_kind = "macvlan"

    def _observed(
        self, kernel: Kernel, wanted: MacvlanLink, link: Link | None, claimed: Collection[str]
    ) -> Observed:
        if link is not None:
            return super()._observed(kernel, wanted, link, claimed)
        inside = _look_inside(wanted)
        if inside is None:
            return ABSENT
        if not self._is_ours(wanted, inside):
            where = f"{inside.describe()} in {wanted.netns}"
            return Observed(presence=Presence.FOREIGN, description=where)
        return Observed(
            presence=Presence.OURS, resource=_found(kernel, wanted, inside, wanted.netns)
        )

    def _as_found(self, kernel: Kernel, wanted: MacvlanLink, link: Link) -> MacvlanLink:
        """Return one that has not moved yet."""
        return _found(kernel, wanted, link, "")

    def _create(
        self, kernel: Kernel, resources: Sequence[MacvlanLink]
    ) -> list[tuple[KernelError, MacvlanLink]]:
        return make_each(resources, lambda link: _make(kernel, link))

    def _change(self, kernel: Kernel, wanted: MacvlanLink, present: MacvlanLink) -> None:
        """Make it anew: inside the guest's namespace it is the guest's to change."""
        if present.netns == wanted.netns and (present.mode, present.alias) == (
            wanted.mode,
            wanted.alias,
        ):
            return
        self.remove(kernel, [wanted])
        _make(kernel, wanted)

    def remove(self, kernel: Kernel, resources: Sequence[MacvlanLink]) -> None:
        """Remove what is ours, wherever it is."""
        failures: list[JackfieldError] = []
        here = kernel.route.links([link.name for link in resources])
        for link in resources:
            found = here.get(link.name)
            try:
                if found is not None and self._is_ours(link, found):
                    kernel.route.delete_links([found.index])
                self._remove_inside(link)
            except JackfieldError as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup("could not remove every macvlan", failures)

    def _remove_inside(self, link: MacvlanLink) -> None:
        def remove() -> None:
            with contextlib.closing(RouteSocket()) as inside:
                for found in inside.links().values():
                    if self._is_ours(link, found):
                        inside.send([delete_link(found.index)])

        with contextlib.suppress(NotFound), _namespace(link) as descriptor:
            call_in_namespace(descriptor, remove)


def _found(kernel: Kernel, wanted: MacvlanLink, link: Link, netns: str) -> MacvlanLink:
    """Return the resource as ``link``, which is in ``netns``, shows it, by whatever name."""
    return dataclasses.replace(
        wanted,
        alias=link.alias,
        mac=found_mac(wanted.mac, link),
        lower=found_lower(kernel, wanted.lower, link),
        mode=macvlan_mode(link.data),
        netns=netns,
        mtu=found_mtu(wanted.mtu, link),
    )


def _make(kernel: Kernel, link: MacvlanLink) -> None:
    what = f"move macvlan {link.name} into {link.netns} as {link.ifname}"
    with open_namespace(link.netns, what) as descriptor:
        make_over(kernel, link, MacvlanDriver.info_kind)
        index = kernel.route.require_index(link.name, what)
        try:
            kernel.route.send([move_link(index, descriptor, link.ifname, what)])
        except KernelError as error:
            MacvlanDriver().remove(kernel, [link])
            error.hint = error.hint or (
                f"{link.netns} may have a device {link.ifname} already: remove it, or choose "
                "another name in there"
            )
            raise


def _look_inside(link: MacvlanLink) -> Link | None:
    def look() -> Link | None:
        with contextlib.closing(RouteSocket()) as inside:
            links = inside.links()
        own = (item for item in links.values() if item.alias == link.alias)
        return next(own, links.get(link.ifname))

    try:
        with _namespace(link) as descriptor:
            return call_in_namespace(descriptor, look)
    except JackfieldError:
        # A namespace that is gone has taken what was in it along.
        return None


def _namespace(link: MacvlanLink) -> contextlib.AbstractContextManager[int]:
    return open_namespace(link.netns, f"find macvlan {link.name}")
