"""Hundreds of networks with DHCP on one host: all start, all stop, nothing is left."""

from __future__ import annotations

import concurrent.futures
import json
from collections.abc import Callable, Iterable

import pytest

from jackfield.client import Client
from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.host import Host

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

COUNT = 500
AT_ONCE = 8


def document(number: int) -> str:
    """Return a network's document."""
    subnet = f"10.{number // 250}.{number % 250}"
    return f"""
    <network>
      <name>net{number}</name>
      <forward mode='nat'/>
      <bridge name='virbr{number}' stp='off' delay='0'/>
      <ip address='{subnet}.1' prefix='24'>
        <dhcp><range start='{subnet}.10' end='{subnet}.99'/></dhcp>
      </ip>
    </network>
    """


def several_at_once(act: Callable[[int], object], numbers: Iterable[int] = range(COUNT)) -> None:
    """Do something with each network, some of them at the same time."""
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(act, numbers))


def bridges(host: Host) -> set[str]:
    """Return the links that are marked as networks of ours and up."""
    return {
        link["ifname"]
        for link in host.ip("link", "show", "up", "type", "bridge")
        if link.get("ifalias", "").startswith("jackfield:network:")
    }


def elements(host: Host, name: str) -> set[str]:
    """Return the interface names that the keys of a set of our table begin with."""
    listed = json.loads(
        host.run(["nft", "-j", "list", "set", "inet", "jackfield", name], timeout=60).stdout
    )
    (found,) = (item["set"] for item in listed["nftables"] if "set" in item)
    return {key if isinstance(key, str) else key["concat"][0] for key in found["elem"]}


def test_five_hundred_networks(host: Host, daemon: Daemon) -> None:
    """All are there, seen from outside; a restart of the daemon moves nothing; all go."""
    client = Client(daemon.api_socket.parent)
    names = {f"virbr{number}" for number in range(COUNT)}

    def ask(verb: str) -> Callable[[int], object]:
        return lambda number: client.request("POST", f"/v1/networks/net{number}/{verb}")

    several_at_once(lambda number: client.request("POST", "/v1/networks", document(number)))
    assert {"lo"} == host.links()
    several_at_once(ask("start"))

    def assert_all_run() -> None:
        assert names == bridges(host)
        addresses = {
            info["local"]
            for link in host.ip("-4", "address")
            for info in link["addr_info"]
            if link["ifname"] in names
        }
        assert {f"10.{n // 250}.{n % 250}.1" for n in range(COUNT)} == addresses
        for name in ("networks", "within", "hidden4_24"):
            assert names == elements(host, name)
        networks = client.request("GET", "/v1/networks")
        assert {True} == {network["active"] for network in networks}
        assert {None} == {network["problem"] for network in networks}

    assert_all_run()
    served = host.processes("dnsmasq")
    assert COUNT == len(served)
    daemon.restart()
    assert_all_run()
    assert served == host.processes("dnsmasq")
    assert "mended" not in daemon.log_text()
    several_at_once(ask("stop"))
    assert {"lo"} == host.links()
    assert [] == host.processes("dnsmasq")
    assert [] == [item for item in host.nft() if "metainfo" not in item]
    assert [] == list(host.file(RUN_DIR).glob("dnsmasq/*"))
    assert "0" == host.sysctl("net/ipv4/ip_forward")
    several_at_once(lambda number: client.request("DELETE", f"/v1/networks/net{number}"))
    assert [] == client.request("GET", "/v1/networks")
    assert [] == list(host.file(daemon.state_dir).glob("dnsmasq/*"))
