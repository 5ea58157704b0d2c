"""Everything at once, and afterwards everything is as it should be.

::

    g0 … g3 (namespaces), taps ── own0 … own3, br-a, br-b, br-c, shared0    host ── LAN ── outside

Clients of both doors do what they like; meanwhile somebody flushes the firewall, removes, renames
and sets down links, kills dnsmasq, fills the disk and has hooks fail; and the daemon dies.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jackfield.errors import InternalError, JackfieldError, counted
from tests.conftest import Uplink
from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.guest import Guest
from tests.lab.host import Host
from tests.lab.packets import ping
from tests.lab.snapshot import take_snapshot
from tests.lab.turmoil import DISK, GUESTS, LUCKLESS, OWN, Turmoil, settle
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

VARIABLE = "JACKFIELD_CHAOS"
"""Names other seeds than those of every day: a number, or FIRST-LAST."""
HOOKS = "/run/lab/hooks"
HOOK = f"#!/bin/sh\n[ ! -e {LUCKLESS} ] || {{ echo no luck >&2; exit 1; }}\n"


def seeds() -> range:
    """Return the seeds to begin with."""
    first, _, last = os.environ.get(VARIABLE, "0-2").partition("-")
    return range(int(first), int(last or first) + 1)


class Unwatched(Daemon):
    """A daemon of which the loop is not watched: here it competes with many for few CPUs."""

    def _check_loop(self) -> None:
        pass


@pytest.fixture
def guests(host: Host, uplink: Uplink) -> list[Guest]:
    """Give the clients' guests, and a bridge of somebody else."""
    assert "eth0" == uplink.ifname
    wait_for(lambda: not host.ip("addr", "show", "tentative"), 5, "addresses to be usable")
    host.run(["ip", "link", "add", "shared0", "address", "02:00:00:00:00:01", "type", "bridge"])
    host.set_sysctl("net/ipv6/conf/shared0/disable_ipv6", "1")
    host.run(["ip", "link", "set", "shared0", "up"])
    # A bridge keeps what its ports can do, and a port of another kind would leave it otherwise.
    host.run(["ip", "tuntap", "add", "shared1", "mode", "tap"])
    host.run(["ip", "link", "set", "shared1", "master", "shared0"])
    return [host.guest(name) for name in GUESTS]


@pytest.fixture
def daemon(host: Host, guests: list[Guest], seed: int) -> Iterator[Daemon]:
    """Give a daemon with a disk of its own, and with hooks where the seed is odd."""
    assert guests
    host.file(DISK).mkdir()
    host.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", DISK])
    config = None
    if seed % 2:
        script = host.file(f"{HOOKS}/network")
        script.parent.mkdir()
        script.write_text(HOOK)
        script.chmod(0o755)
        config = f'hooks_dir = "{HOOKS}"\n'
    with Unwatched(host, state_dir=f"{DISK}/state", config=config) as jackfieldd:
        yield jackfieldd


@contextlib.contextmanager
def captured(turmoil: Turmoil, seed: int) -> Iterator[None]:
    """Say of a failure how to repeat it, and where everything about it is."""
    try:
        yield
    except BaseException as error:
        folder = Path(tempfile.mkdtemp(prefix=f"jackfield-chaos-{seed}-"))
        (folder / "error").write_text(repr(error))
        error.add_note(f"repeat with: {VARIABLE}={seed} scripts/test lab -- -k test_turmoil")
        error.add_note(f"what was done, and what there was at the end: {folder}")
        turmoil.capture(folder)
        raise


def unrest(turmoil: Turmoil) -> list[str]:
    """Return what is not as the daemon says, nor said to be otherwise."""
    host, client = turmoil.host, turmoil.client
    networks = {one["uuid"]: one for one in client.request("GET", "/v1/networks")}
    ports = {one["uuid"] for one in client.request("GET", "/v1/ports")}
    running = {uuid for uuid, one in networks.items() if one["active"]}
    found = []
    for link in turmoil.ours():
        _, kind, uuid = link["ifalias"].split(":")
        if uuid not in (running if kind == "network" else ports):
            found.append(f"{link['ifname']} is of no {kind}")
    rules = host.run(["nft", "list", "ruleset"]).stdout
    named = set(re.findall(r'"(br-\w|own\d)"', rules))
    strangers = named - {networks[uuid]["bridge"] for uuid in running}
    found += [f"there are rules of {name}" for name in strangers]
    served = host.file(f"{RUN_DIR}/dnsmasq")
    strangers = {path.name for path in served.iterdir()} - running if served.exists() else set()
    found += [f"network {uuid} is served" for uuid in strangers]
    for uuid in running:
        told = client.request("GET", f"/v1/networks/{uuid}")
        if told["stored"] in (None, told["live"]) and not told["problem"]:
            found += [f"{told['name']} needs {step}" for step in to_be_done(turmoil, uuid)]
    return found


def to_be_done(turmoil: Turmoil, network: str) -> list[str]:
    """Return what a network's plan says is to be done."""
    plan = turmoil.client.request("POST", f"/v1/networks/{network}/plan")
    return [json.dumps(step) for step in plan["steps"] if step["action"] != "keep"]


def mend(turmoil: Turmoil) -> None:
    """Apply every definition again: what somebody has done to its network is mended by that.

    Nothing can be in the way of a client's own network, nor of one that runs as it is defined.
    """
    client = turmoil.client
    for network in client.request("GET", "/v1/networks"):
        told = client.request("GET", f"/v1/networks/{network['uuid']}")
        if not told["active"] or told["stored"] is None:
            continue
        try:
            client.request("POST", f"/v1/networks/{told['uuid']}/apply")
        except InternalError:
            raise
        except JackfieldError:
            if told["name"] in OWN or told["stored"] == told["live"]:
                raise
            continue
        now = client.request("GET", f"/v1/networks/{told['uuid']}")
        groups = {one["name"] for one in now["live"].get("portgroups", ())}
        ports = client.request("GET", f"/v1/networks/{told['uuid']}/ports")
        behind = [one for one in ports if one.get("group") not in {None, *groups}]
        problem = f"{counted(len(behind), 'port')} with former settings (see `jackfield ports`)"
        assert (problem if behind else None) == now["problem"], told["name"]
        assert [] == to_be_done(turmoil, told["uuid"])


def talk(turmoil: Turmoil, guests: list[Guest]) -> None:
    """Have every guest of a client's network lease an address and reach its gateway."""
    running = {name for name, state in turmoil.own.items() if state.live is not None}
    for port in turmoil.client.request("GET", "/v1/ports"):
        if port["network"] not in running or port["netns"] is None:
            continue
        number = OWN.index(port["network"])
        guest = guests[number]
        lease = guest.dhcp4(port["ifname"])
        assert lease is not None, f"{guest.name} gets no address of {port['network']}"
        assert ping(guest, f"10.8.{number}.1", tries=5) is not None
        if number == 0:
            assert ping(guest, "192.0.2.1", tries=5) is not None


def take_all_away(turmoil: Turmoil) -> None:
    """Detach, stop and undefine everything."""
    client = turmoil.client
    for port in client.request("GET", "/v1/ports"):
        client.request("DELETE", f"/v1/ports/{port['uuid']}")
    for network in client.request("GET", "/v1/networks"):
        path = f"/v1/networks/{network['uuid']}"
        if network["active"]:
            client.request("POST", f"{path}/stop")
        if network["persistent"]:
            client.request("DELETE", path)


def differences(before: list[str], now: list[str]) -> list[str]:
    """Return the lines that were there and are not any more, and those that are new."""
    gone, come = (
        collections.Counter(one) - collections.Counter(other)
        for one, other in ((before, now), (now, before))
    )
    return [*(f"gone: {line}" for line in gone), *(f"left: {line}" for line in come)]


@pytest.mark.parametrize("seed", seeds())
def test_turmoil(host: Host, daemon: Daemon, guests: list[Guest], seed: int) -> None:
    """What was acknowledged is there, nothing else is, and guests have their network."""
    before = take_snapshot(host)
    turmoil = Turmoil(host, daemon, seed)

    def known() -> dict[str, Any]:
        return {name: turmoil.state_of(name) for name in OWN}

    with captured(turmoil, seed):
        turmoil.run()
        settle(lambda: unrest(turmoil), "the host comes to rest")
        daemon.kill9()
        daemon.start()
        assert turmoil.own == known()
        settle(lambda: unrest(turmoil), "the next daemon finds everything as it should be")
        mend(turmoil)
        talk(turmoil, guests)
        take_all_away(turmoil)
        settle(lambda: differences(before, take_snapshot(host)), "the host is as before")
        for guest in guests:
            assert ["lo"] == [link["ifname"] for link in guest.ip("link", "show")]
