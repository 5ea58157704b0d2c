"""State, address and MTU of links that are somebody else's: uplinks."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Collection, Mapping, Sequence

from jackfield.errors import KernelError
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.link import Link, set_link
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.settings import LinkAttribute, LinkSetting

__all__ = ["LinkSettingDriver"]

_UP = "up"
_DOWN = "down"


class LinkSettingDriver:
    """Looks at and sets what we need of uplinks; the ledger remembers what it was."""

    def observe(
        self,
        kernel: Kernel,
        resources: Sequence[LinkSetting],
        claimed: Collection[str] = frozenset(),
    ) -> dict[str, Observed]:
        """Return each attribute as it is, and of which link; absent where there is no such link."""
        named = {setting.link for setting in resources if setting.index is None}
        links = kernel.route.links(named)
        return {
            setting.key: _observed(
                setting,
                links.get(setting.link)
                if setting.index is None
                else kernel.route.link_at(setting.index),
            )
            for setting in resources
        }

    def ensure(
        self,
        kernel: Kernel,
        resources: Sequence[LinkSetting],
        replaced: Mapping[str, LinkSetting],
    ) -> None:
        """Set the attributes."""
        for setting in resources:
            what = f"set the {setting.attribute.value} of {setting.link} to {setting.value}"
            index = setting.index or kernel.route.require_index(setting.link, what)
            if setting.attribute is LinkAttribute.STATE:
                kernel.route.send([set_link(index, what, up=setting.value == _UP)])
            elif setting.attribute is LinkAttribute.MTU:
                kernel.route.send([set_link(index, what, mtu=int(setting.value))])
            else:
                _set_address(kernel, index, MacAddress(setting.value), what)

    def remove(self, kernel: Kernel, resources: Sequence[LinkSetting]) -> None:
        """Do nothing: values are put back by whoever knows what they were."""


def _observed(setting: LinkSetting, link: Link | None) -> Observed:
    if link is None:
        return ABSENT
    value = link.mac_text
    if setting.attribute is LinkAttribute.STATE:
        value = _UP if link.up else _DOWN
    elif setting.attribute is LinkAttribute.MTU:
        value = str(link.mtu)
    found = dataclasses.replace(
        setting, link=InterfaceName(link.name), value=value, index=link.index
    )
    return Observed(presence=Presence.OURS, resource=found)


def _set_address(kernel: Kernel, index: int, mac: MacAddress, what: str) -> None:
    try:
        kernel.route.send([set_link(index, what, mac=mac.packed)])
    except KernelError as error:
        if error.errno != errno.EBUSY:
            raise
        # Some drivers change their address only while they are down.
        kernel.route.send(
            [
                set_link(index, what, up=False),
                set_link(index, what, mac=mac.packed),
                set_link(index, what, up=True),
            ]
        )
