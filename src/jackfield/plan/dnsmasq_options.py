"""Which options of ``<dnsmasq:options>`` are handed through, and why others are not.

An option is refused when it runs a program, reads or writes a file that is not the network's,
changes user, reaches beyond the network's bridge, or takes over what Jackfield itself decides.
The names are those of dnsmasq's manual page (``dnsmasq(8)``).
"""

from __future__ import annotations

import re

from jackfield.errors import InvalidRequest

__all__ = ["REFUSED", "check_option"]

_RUNS = "it runs a program"
_READS = "it reads files that are not the network's"
_WRITES = "it writes files that are not the network's"
_USER = "it changes the user that dnsmasq runs as"
_REACHES = "it reaches beyond the network's bridge"
_HOST = "it changes the host's packet filter"
_BUS = "it opens dnsmasq to a message bus of the host"
_OURS = "Jackfield decides this"
_PROCESS = "it changes how the process runs, and Jackfield supervises it"

_BY_REASON: dict[str, str] = {
    _RUNS: "dhcp-script dhcp-luascript conf-script script-arp script-on-renewal",
    _READS: (
        "conf-file conf-dir servers-file resolv-file hostsdir dhcp-hostsdir dhcp-optsdir "
        "addn-hosts dhcp-hostsfile dhcp-optsfile read-ethers tftp-root enable-tftp"
    ),
    _WRITES: "dhcp-leasefile leasefile-ro log-facility pid-file dumpfile dnssec-timestamp",
    _USER: "user group dhcp-scriptuser",
    _REACHES: (
        "interface except-interface listen-address bind-dynamic bind-interfaces "
        "bridge-interface shared-network auth-server dhcp-relay"
    ),
    _HOST: "ipset nftset",
    _BUS: "enable-dbus enable-ubus connmark-allowlist-enable",
    _OURS: "port dhcp-alternate-port",
    _PROCESS: "no-daemon keep-in-foreground test version help",
}

REFUSED: dict[str, str] = {
    option: reason for reason, options in _BY_REASON.items() for option in options.split()
}
"""The refused options, each with the reason."""

_INSTEAD: dict[str, str] = {
    "tftp-root": "say <tftp root='…'/> under <ip>",
    "enable-tftp": "say <tftp root='…'/> under <ip>",
    "addn-hosts": "say <host> under <dns>",
    "dhcp-hostsfile": "say <host> under <dhcp>",
    "resolv-file": "say <forwarder> under <dns>",
    "servers-file": "say <forwarder> under <dns>",
    "port": "say <dns enable='no'/> for a network without DNS",
}

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def check_option(option: str) -> str:
    """Return the trimmed text of one option, or raise ``InvalidRequest`` that names it."""
    text = option.strip()
    name = text.partition("=")[0].strip()
    if not _NAME.fullmatch(name):
        # Quotes are removed and comments cut by dnsmasq before it looks at a name: a spelling
        # that is not plainly a name could turn into a refused one.
        raise InvalidRequest(
            f"dnsmasq option {text[:64]!r} does not begin with the name of an option",
            hint="write it as in dnsmasq.conf: NAME or NAME=VALUE, without leading dashes",
        )
    reason = REFUSED.get(name)
    if reason is not None:
        raise InvalidRequest(
            f"dnsmasq option {name!r} is refused: {reason}", hint=_INSTEAD.get(name)
        )
    return text
