"""What a virtual function receives beside what is sent to its own address."""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping, Sequence

from jackfield.errors import KernelError
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.ownaddress import add_own, decode_own, delete_own, dump_own
from jackfield.state.functions import OwnAddress

__all__ = ["OwnAddressDriver"]

_ON, _OFF = "on", "off"


class OwnAddressDriver:
    """Enters addresses at somebody else's links; the ledger remembers which were there."""

    def observe(
        self,
        kernel: Kernel,
        resources: Sequence[OwnAddress],
        claimed: Collection[str] = frozenset(),
    ) -> dict[str, Observed]:
        """Return whether each is received; absent where there is no such link."""
        indexes = {item.link: kernel.route.index(item.link) for item in resources}
        held = {link: _held(kernel, index) for link, index in indexes.items() if index is not None}
        found = {}
        for item in resources:
            found[item.key] = ABSENT
            if item.link in held:
                value = _ON if item.mac.packed in held[item.link] else _OFF
                present = OwnAddress(link=item.link, mac=item.mac, value=value)
                found[item.key] = Observed(presence=Presence.OURS, resource=present)
        return found

    def ensure(
        self,
        kernel: Kernel,
        resources: Sequence[OwnAddress],
        replaced: Mapping[str, OwnAddress],
    ) -> None:
        """Have the links receive what is sent to these addresses, or not any more."""
        for item in resources:
            if item.value == _ON:
                what = f"have {item.link} receive what is sent to {item.mac}"
                index = kernel.route.require_index(item.link, what)
                kernel.route.send([add_own(index, item.mac.packed, what)])
            else:
                _take_away(kernel, item)

    def remove(self, kernel: Kernel, resources: Sequence[OwnAddress]) -> None:
        """Do nothing: addresses are taken away by whoever knows whether they were there."""


def _held(kernel: Kernel, index: int) -> set[bytes]:
    entries = (decode_own(reply.body) for reply in kernel.route.dump(dump_own(index)))
    return {entry[1] for entry in entries if entry is not None and entry[0] == index}


def _take_away(kernel: Kernel, item: OwnAddress) -> None:
    what = f"have {item.link} receive no more what is sent to {item.mac}"
    index = kernel.route.index(item.link)
    if index is None:
        return
    try:
        kernel.route.send([delete_own(index, item.mac.packed, what)])
    except KernelError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):
            raise
