"""What is wrong with a lab host's only network and its ports, as the daemon tells it."""

from __future__ import annotations

import json
from typing import Any

from tests.lab.daemon import Daemon

__all__ = ["problem", "problems", "told"]


def problem(daemon: Daemon) -> str:
    """Return what is wrong with the network."""
    (network,) = daemon.ask("/v1/networks")
    return str(network["problem"] or "")


def problems(daemon: Daemon) -> dict[str, str | None]:
    """Return what is wrong with each port, by its owner."""
    return {port["owner"]["name"]: port["problem"] for port in daemon.ask("/v1/ports")}


def told(daemon: Daemon) -> list[dict[str, Any]]:
    """Return the events about what went wrong and what was put right."""
    lines = daemon.cli("events", "--no-follow", "--since", "0", "--json").splitlines()
    events = [json.loads(line) for line in lines]
    return [one for one in events if one["type"] in {"network-problem", "network-repaired"}]
