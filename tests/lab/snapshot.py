"""What a host shows of its network, as text that is the same while nothing has changed."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

from tests.lab.daemon import RUN_DIR
from tests.lab.host import Host
from tests.lab.namespace import nft_objects
from tests.lab.wait import wait_for

__all__ = ["take_snapshot"]

_LOOKS = (
    "ip -d -j link",
    "ip -j address",
    "ip -4 -j route show table all",
    "ip -6 -j route show table all",
    "bridge -d -j link",
    "tc -j qdisc",
    "nft -j list ruleset",
)
_SYSCTLS = (
    "grep -rsH . /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf /proc/sys/net/ipv4/ip_forward"
)
_SEPARATOR = "\x1e"
_HELPERS = ("dnsmasq", "vde_switch")
#: Numbers that the kernel gives anew to the same thing, and what changes by itself.
_VOLATILE = re.compile(
    r"ifindex|link_index|link_netnsid|link|operstate|handle|metainfo|packets|bytes|group|no|id"
    r"|port_id|port_no|state|.*timer|.*life_time|topology_change.*|designated_.*|root_.*|index"
    r"|num_tx_queues|num_rx_queues|config_pending|.*_backlog.*|broadcast_neighbors|carrier.*"
    r"|fdb_n_learned|mcast_n_groups"
)
_VOLATILE_FLAGS = frozenset({"LOWER_UP", "NO-CARRIER", "RUNNING", "linkdown", "tentative"})


def take_snapshot(host: Host) -> list[str]:
    """Return everything about the network that the host shows, one thing a line.

    Links, addresses, routes of all tables, bridge ports, qdiscs, rules, sysctls, the files below
    the daemon's run directory and every helper process.
    """
    looks, sysctls = wait_for(lambda: _look(host), 5, "nft not to break off")
    lines: list[str] = []
    for command, objects in zip(_LOOKS, looks, strict=True):
        if isinstance(objects, dict):
            objects = _rules(nft_objects(objects))
        lines += sorted(f"{command}: {json.dumps(_still(item))}" for item in objects if item)
    lines += sorted(f"sysctl {line}" for line in sysctls.splitlines())
    return [*lines, *sorted(_processes(host)), *sorted(_files(host))]


def _look(host: Host) -> tuple[list[Any], str] | None:
    """Return what each of the programs says, parsed, and the sysctls.

    ``None`` when one breaks off: nft does so before its version 1.1 (``nft_objects``).
    """
    script = f" && printf '{_SEPARATOR}' && ".join([*_LOOKS, f"({_SYSCTLS} || true)"])
    *looks, sysctls = host.run(["sh", "-c", script]).stdout.split(_SEPARATOR)
    with contextlib.suppress(ValueError):
        return [json.loads(text) if text.strip() else [] for text in looks], sysctls
    return None


def _rules(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the objects of a ruleset, with the rules of each chain as one, in their order."""
    found: list[dict[str, Any]] = []
    chains: dict[str, list[Any]] = {}
    for item in objects:
        if "rule" in item:
            rule = item["rule"]
            chain = f"{rule['family']} {rule['table']} {rule['chain']}"
            chains.setdefault(chain, []).append(rule["expr"])
        elif "metainfo" not in item:
            for value in item.values():
                if isinstance(value.get("elem"), list):
                    value["elem"].sort(key=json.dumps)
            found.append(item)
    return found + [{name: rules} for name, rules in chains.items()]


def _still(value: Any) -> Any:
    """Return ``value`` without what changes by itself."""
    if isinstance(value, dict):
        return {key: _still(item) for key, item in value.items() if not _VOLATILE.fullmatch(key)}
    if isinstance(value, list):
        return [
            _still(item)
            for item in value
            if not (isinstance(item, str) and item in _VOLATILE_FLAGS)
        ]
    return value


def _processes(host: Host) -> Iterator[str]:
    for directory in host.file("/proc").iterdir():
        if directory.name.isdigit():
            with contextlib.suppress(OSError):
                words = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if words.partition(" ")[0].endswith(_HELPERS):
                    yield f"process {words}"


def _files(host: Host) -> Iterator[str]:
    root = host.file(RUN_DIR)
    for path in root.rglob("*"):
        name = path.relative_to(root)
        if path.name == "process":
            # Our note of its pid, which is written when there is time: nothing depends on it.
            continue
        if path.is_file():
            content = path.read_text()
            if path.name == "pid":
                # dnsmasq's own word: whether it names a process that lives.
                pid = content.strip() or "0"
                content = "a dnsmasq" if host.file(f"/proc/{pid}").exists() else f"dead {content}"
            elif path.name == "console":
                # What a VDE switch answered; the counts in it are what they happened to be.
                content = "answered" if "1000 Success" in content else "silent"
            elif path.name == "log":
                content = "…"
            yield f"file {name}: {content!r}"
        elif path.parent != root:
            # The folder of all networks stays when it is empty.
            yield f"file {name}"
