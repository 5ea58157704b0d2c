"""A guest: a named network namespace of a host, as container tools and ``ip netns`` make them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tests.lab.namespace import Namespace
from tests.lab.wait import wait_for

if TYPE_CHECKING:
    from tests.lab.host import Host

__all__ = ["Guest", "Lease4", "Lease6"]

# Written to the host's /run/lab. udhcpc and dhclient tell their scripts everything in variables.
DHCP4_SCRIPT = """#!/bin/sh
case $1 in
bound | renew)
    ip -4 addr flush dev "$interface"
    ip addr add "$ip/$mask" dev "$interface"
    [ -z "$router" ] || ip route replace default via "${router%% *}" dev "$interface"
    env -0 >"$LEASE_FILE"
    ;;
esac
"""
DHCP6_SCRIPT = """#!/bin/sh
case $reason in
BOUND6 | RENEW6 | REBIND6)
    ip -6 addr replace "$new_ip6_address/$new_ip6_prefixlen" dev "$interface" nodad
    env -0 >"$LEASE_FILE"
    ;;
esac
exit 0
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lease4:
    """What a DHCP server gave: ``lease`` in seconds; ``options`` holds all that udhcpc names."""

    address: str
    prefix: int
    router: str | None
    dns: tuple[str, ...]
    domain: str | None
    lease: int
    server: str
    options: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lease6:
    """What a DHCPv6 server gave; ``options`` holds all that dhclient names (``new_…``)."""

    address: str
    prefix: int
    dns: tuple[str, ...]
    domain: str | None
    options: Mapping[str, str]


class Guest(Namespace):
    """A guest of a host; lo is up, and its links are what ``attach --netns NAME`` plugs in."""

    def __init__(self, host: Host, name: str) -> None:
        """Make the namespace with ``ip netns add`` on the host."""
        self.host = host
        self.name = name
        host.run(["ip", "netns", "add", name])
        self.path = host.file(f"/run/netns/{name}")
        self.run(["ip", "link", "set", "lo", "up"])
        # Its addresses are usable at once: nobody is asked first, for seconds, who else has them.
        for where in ("all", "default"):
            self.set_sysctl(f"net/ipv6/conf/{where}/accept_dad", "0")

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return ``argv`` run by ``ip netns exec`` on the host."""
        return self.host.command(["ip", "netns", "exec", self.name, *argv])

    def dhcp4(
        self,
        ifname: str = "eth0",
        *,
        hostname: str | None = None,
        options: Sequence[str] = (),
        seconds: int = 8,
    ) -> Lease4 | None:
        """Ask for an IPv4 lease and use it; ``None`` when no server gave one in ``seconds``.

        dnsmasq tries for 3 s whether somebody has an address already before it offers it.
        ``options`` are names or numbers of options to ask for (``udhcpc -O``).
        """
        self.run(["ip", "link", "set", ifname, "up"])
        script, answer = self._prepare("dhcp4", DHCP4_SCRIPT, ifname)
        self.run(
            [
                *("busybox", "udhcpc", "-f", "-n", "-q", "-i", ifname, "-s", script),
                *("-t", str(seconds), "-T", "1", "-A", "1"),
                *([] if hostname is None else ["-x", f"hostname:{hostname}"]),
                *(word for option in options for word in ("-O", option)),
            ],
            env={"LEASE_FILE": answer},
            check=False,
            timeout=seconds + 20,
        )
        given = self._answer(answer)
        if given is None:
            return None
        return Lease4(
            address=given["ip"],
            prefix=int(given["mask"]),
            router=given["router"].split()[0] if given.get("router") else None,
            dns=tuple(given.get("dns", "").split()),
            domain=given.get("domain"),
            lease=int(given["lease"]),
            server=given["serverid"],
            options=given,
        )

    def dhcp6(self, ifname: str = "eth0", *, seconds: int = 10) -> Lease6 | None:
        """Ask for an IPv6 address and use it; ``None`` when no server gave one in ``seconds``."""
        self.run(["ip", "link", "set", ifname, "up"])
        # dhclient gives up on a link whose own address is still being checked for duplicates.
        wait_for(lambda: self.addresses(ifname, scope="link"), 10, "the link-local address")
        script, answer = self._prepare("dhcp6", DHCP6_SCRIPT, ifname)
        stem = f"/run/lab/{self.name}-{ifname}"
        self.host.file(f"{stem}.conf").write_text(f"timeout {seconds};\n")
        self.dhclient6(
            *("-sf", script, "-cf", f"{stem}.conf", "-lf", f"{stem}.leases"),
            *("-e", f"LEASE_FILE={answer}", ifname),
            seconds=seconds,
        )
        given = self._answer(answer)
        if given is None:
            return None
        return Lease6(
            address=given["new_ip6_address"],
            prefix=int(given["new_ip6_prefixlen"]),
            dns=tuple(given.get("new_dhcp6_name_servers", "").split()),
            domain=given.get("new_dhcp6_domain_search", "").rstrip(".") or None,
            options=given,
        )

    def dhclient6(self, *options: str, seconds: int = 10) -> None:
        """Run ``dhclient -6`` until it has a lease or ``seconds`` passed; nothing of it stays."""
        name = f"/run/lab/{self.name}-dhclient.pid"
        pid = self.host.file(name)
        pid.unlink(missing_ok=True)
        ended = self.run(
            ["timeout", str(seconds), "dhclient", "-6", "-1", "-pf", name, *options],
            check=False,
            timeout=seconds + 20,
        )
        if ended.returncode == 0:
            # It stays to renew the lease, and its child writes the file after it has returned.
            number = wait_for(lambda: pid.read_text().strip() if pid.exists() else "", 5, "its pid")
            self.host.run(["kill", number])

    def addresses(self, ifname: str = "eth0", *, scope: str = "global") -> list[str]:
        """Return the ``ADDRESS/PREFIX`` of a link, usable ones of both families."""
        return [
            f"{info['local']}/{info['prefixlen']}"
            for link in self.ip("addr", "show", "dev", ifname)
            for info in link["addr_info"]
            if info["scope"] == scope and not info.get("tentative")
        ]

    def delete(self) -> None:
        """Take the guest's namespace away, as when a container ends."""
        self.host.run(["ip", "netns", "del", self.name])

    def _prepare(self, kind: str, text: str, ifname: str) -> tuple[str, str]:
        """Write the client's script; return its path and that of the answer, on the host."""
        script = f"/run/lab/{kind}.sh"
        answer = f"/run/lab/{self.name}-{ifname}.{kind}"
        path = self.host.file(script)
        path.write_text(text)
        path.chmod(0o755)
        self.host.file(answer).unlink(missing_ok=True)
        return script, answer

    def _answer(self, path: str) -> dict[str, str] | None:
        """Return the variables that a client's script wrote, or ``None`` when it did not."""
        file = self.host.file(path)
        if not file.exists():
            return None
        pairs = (entry.partition("=") for entry in file.read_text().split("\0") if entry)
        return {name: value for name, _, value in pairs}
