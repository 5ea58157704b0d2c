"""Rules that somebody flushes while networks start, change and stop, or puts others in their place.

::

    red0 (isolated)   blue0 (nat)        host
"""

from __future__ import annotations

import subprocess
from functools import partial

import pytest

from jackfield.client import Client
from tests.lab.daemon import Daemon
from tests.lab.host import Host
from tests.lab.troubles import problem
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

HOOKS = "/run/lab/hooks"
FLUSH = ("nft", "flush", "ruleset")
TRIES = 8


def document(name: str, number: int, *, mode: str = "") -> str:
    """Return a network with a bridge of its name."""
    forward = f"<forward mode='{mode}'/>" if mode else ""
    return (
        f"<network><name>{name}</name>{forward}<bridge name='{name}0'/>"
        f"<ip address='10.0.{number}.1' prefix='24'/></network>"
    )


def rules(host: Host) -> str:
    """Return all rules of the host."""
    return host.run(["nft", "list", "ruleset"]).stdout


def flush(host: Host) -> subprocess.Popen[str]:
    """Begin to flush all rules."""
    return host.popen(FLUSH)


def has_rules(host: Host, bridge: str) -> bool:
    """Tell whether the rules have anything of a bridge."""
    return bridge in rules(host)


def test_rules_that_a_hook_flushes(host: Host) -> None:
    """Who restarts the firewall whenever a network has started opens none of them."""
    script = host.file(f"{HOOKS}/network")
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\n[ $2 != started ] && [ $2 != updated ] || {' '.join(FLUSH)}\n")
    script.chmod(0o755)
    with Daemon(host, config=f'hooks_dir = "{HOOKS}"\n') as daemon:
        for name, number in (("blue", 1), ("red", 2)):
            daemon.cli("apply", daemon.document(document(name, number, mode="nat")))
            wait_for(partial(has_rules, host, f"{name}0"), 5, "its rules to be back")
        assert "blue0" in rules(host)
        daemon.cli("apply", daemon.document(document("red", 3, mode="nat")))
        wait_for(lambda: "10.0.3." in rules(host), 5, "the rules of what it is now")
        assert "10.0.2." not in rules(host)


def test_rules_of_a_network_that_stops(host: Host, daemon: Daemon) -> None:
    """They are not put back after it."""
    daemon.cli("apply", daemon.document(document("blue", 1, mode="nat")))
    daemon.cli("define", daemon.document(document("red", 2)))
    client = Client(daemon.api_socket.parent)
    for _ in range(TRIES):
        client.request("POST", "/v1/networks/red/start")
        assert "red0" in rules(host)
        with flush(host):
            client.request("POST", "/v1/networks/red/stop")
        wait_for(
            lambda: "blue0" in (found := rules(host)) and "red0" not in found,
            5,
            "the rules of the one that runs, and no others",
        )


def test_rules_of_others_instead(host: Host, daemon: Daemon) -> None:
    """A network says that a table of ours is somebody else's now, and is right when it is not."""
    daemon.cli("apply", daemon.document(document("red", 1, mode="nat")))
    host.run(["nft", "delete table inet jackfield; add table inet jackfield"])
    wait_for(lambda: "not in force" in problem(daemon), 5, "it to say so")
    failed = daemon.cli("apply", "red", check=False)
    assert 5 == failed.returncode
    assert "table inet jackfield" in failed.stderr
    assert "not in force" in problem(daemon)
    host.run(["nft", "delete", "table", "inet", "jackfield"])
    wait_for(lambda: not problem(daemon), 5, "it to be well again")
    assert "red0" in rules(host)
