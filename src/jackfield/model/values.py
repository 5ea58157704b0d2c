"""Validated values: the only form in which a document's text reaches files, devices or rules.

Each is a ``str`` that cannot be made from text which is unsafe where it is used; the
constructor raises ``ValueError`` with the reason, and the readers turn that into an error that
names the element.
"""

from __future__ import annotations

import re
from typing import Self

__all__ = ["DnsName", "InterfaceName", "MacAddress", "NameTemplate", "NetworkName", "Text"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_INTERFACE = re.compile(r"[A-Za-z0-9_.@+][A-Za-z0-9_.@+-]*")
_MAC = re.compile(r"[0-9a-f]{1,2}(:[0-9a-f]{1,2}){5}")
_CANONICAL_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DNS_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}\.?|\.")


class InterfaceName(str):
    """Name of a network device: 1 to 15 bytes (``IFNAMSIZ`` in ``linux/if.h`` less the NUL).

    Narrower than the kernel's ``dev_valid_name``: what has a meaning in a dnsmasq file or in a
    path (``, * / :`` and white space, a leading ``-``) is refused as well.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Accept ``text`` or raise ``ValueError``."""
        if not text:
            raise ValueError("a device name cannot be empty")
        # What is more than ASCII is refused below, so characters are bytes.
        if len(text) > 15:
            raise ValueError(f"device name {text[:64]!r} is longer than 15 bytes")
        if not _INTERFACE.fullmatch(text) or text in {".", ".."}:
            raise ValueError(
                f"device name {text!r} may hold only letters, digits and _ . @ + -, "
                "and not begin with -"
            )
        if text in {"all", "default"}:
            raise ValueError(
                f"device name {text!r} is the kernel's own, for sysctls of all devices"
            )
        return super().__new__(cls, text)


class NameTemplate(str):
    """Name of a network device with ``%d`` for the lowest number that makes a free name."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Accept ``text`` or raise ``ValueError``."""
        if text.count("%") != 1 or "%d" not in text:
            raise ValueError(f"template {text[:64]!r} must hold %d, once, and no other %")
        InterfaceName(text.replace("%d", "0"))
        return super().__new__(cls, text)

    def numbered(self, number: int) -> InterfaceName:
        """Return the name with ``number`` in it; ``ValueError`` when it gets too long."""
        return InterfaceName(self.replace("%d", str(number)))

    def makes(self, name: str) -> bool:
        """Whether ``name`` is one of the template's."""
        before, after = self.split("%d")
        number = name[len(before) : len(name) - len(after)]
        return name == f"{before}{number}{after}" and number.isdecimal()


class MacAddress(str):
    """Ethernet address as ``aa:bb:cc:dd:ee:ff``, lower case."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Accept ``text`` in either case, each octet of one or two digits."""
        if _CANONICAL_MAC.fullmatch(text):
            return super().__new__(cls, text)
        lowered = text.lower()
        if not _MAC.fullmatch(lowered):
            raise ValueError(f"{text[:64]!r} is not a MAC address like 52:54:00:12:34:56")
        return super().__new__(cls, ":".join(part.zfill(2) for part in lowered.split(":")))

    @property
    def packed(self) -> bytes:
        """The six octets."""
        return bytes.fromhex(self.replace(":", ""))

    @property
    def is_multicast(self) -> bool:
        """Whether the group bit is set (IEEE 802: such an address cannot be a station's)."""
        return bool(int(self[1], 16) & 1)


class NetworkName(str):
    """Name of a network: not empty, at most 255 bytes, without ``/`` or control characters."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Accept ``text`` or raise ``ValueError``."""
        if not text or not text.strip():
            raise ValueError("a network's name cannot be empty")
        if len(text.encode("utf-8", "surrogatepass")) > 255:
            raise ValueError(f"network name {text[:32]!r}… is longer than 255 bytes")
        if "/" in text or text in {".", ".."} or _CONTROL.search(text):
            raise ValueError(f"network name {text!r} may not hold '/' or control characters")
        return super().__new__(cls, text)


class DnsName(str):
    """Domain or host name: dot-separated labels of letters, digits, ``-`` and ``_`` (RFC 1035).

    At most 255 bytes and 63 a label; a trailing dot is kept, and ``.`` alone is the root.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Accept ``text`` or raise ``ValueError``."""
        if len(text) > 255 or not _DNS_NAME.fullmatch(text):
            raise ValueError(f"{text[:64]!r} is not a DNS name")
        return super().__new__(cls, text)


class Text(str):
    """One line of free text: no control characters, so it cannot end a line of a file."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Accept ``text`` or raise ``ValueError``."""
        if _CONTROL.search(text):
            raise ValueError(f"{text[:64]!r} holds a control character or a line break")
        return super().__new__(cls, text)
