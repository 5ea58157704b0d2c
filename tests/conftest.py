"""Fixtures for all tests: namespaces, hosts, a LAN and a daemon, and the check for leaks."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import hypothesis
import pytest

from tests.lab import leaks, libvirtd, openvswitch, prepared
from tests.lab.daemon import Daemon
from tests.lab.host import Host
from tests.lab.namespace import NetworkNamespace
from tests.lab.switch import Lan, add_address
from tests.lab.virsh import CONFIG
from tests.lab.wait import wait_for
from tests.reports import SHOWS

# A shared machine makes single examples slow now and then; a run for a change is repeatable.
hypothesis.settings.register_profile(
    "jackfield", deadline=None, print_blob=True, derandomize=bool(os.environ.get("CI"))
)
hypothesis.settings.load_profile("jackfield")

#: Seconds a test of a tier may take.
LIMITS = {"kernel": 60, "lab": 180, "slow": 900}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each tier its time, skip what needs root where there is none, and note what is shown."""
    for item in items:
        tiers = [tier for tier in LIMITS if item.get_closest_marker(tier)]
        if tiers and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(max(LIMITS[tier] for tier in tiers)))
        if tiers and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))
        for marker in item.iter_markers(SHOWS):
            what, how = marker.args
            item.user_properties.append((f"{SHOWS}:{what}", how))


@pytest.fixture(scope="session", autouse=True)
def no_leaks() -> Iterator[None]:
    """Fail the run when it leaves links, namespaces, mounts or processes on the machine."""
    before = leaks.Machine.observe()
    mark = leaks.mark_run()
    yield
    prepared.close()

    def left() -> list[str]:
        return [
            *leaks.Machine.observe().added_since(before),
            *leaks.processes_of_run(mark),
            *leaks.unclosed(),
        ]

    # The kernel takes namespaces down in the background.
    wait_for(lambda: not left(), 10, f"nothing to be left behind, but there is: {left()}")


@pytest.fixture(autouse=True)
def null_device() -> Iterator[None]:
    """Fail a test that replaces /dev/null, which breaks the whole machine, and put it back.

    dnsmasq as root does that when it is told to use it as pid file: it unlinks the name first.
    """
    yield
    assert not leaks.mend_null_device(), "the test replaced /dev/null by a file; it is mended"


@pytest.fixture
def netns() -> Iterator[NetworkNamespace]:
    """Give a fresh network namespace with lo up."""
    with NetworkNamespace() as namespace:
        yield namespace


@pytest.fixture
def host() -> Iterator[Host]:
    """Give a host with nothing but lo."""
    with Host() as machine:
        yield machine


@pytest.fixture
def lan() -> Iterator[Lan]:
    """Give a switch."""
    with Lan() as switch:
        yield switch


@pytest.fixture
def outside(lan: Lan) -> Iterator[Host]:
    """Give a machine on the LAN that also is "the internet": 203.0.113.1 and 2001:db8:ffff::1."""
    with lan.outside("192.0.2.1/24", "2001:db8:1::1/64") as machine:
        add_address(machine, "lo", "203.0.113.1/32")
        add_address(machine, "lo", "2001:db8:ffff::1/128")
        yield machine


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
    """How the host reaches the LAN; ``switch_port`` is the other end of the cable."""

    ifname: str = "eth0"
    address4: str = "192.0.2.10"
    address6: str = "2001:db8:1::10"
    switch_port: str


@pytest.fixture
def uplink(host: Host, lan: Lan, outside: Host) -> Uplink:
    """Plug the host into the LAN; its default routes lead to the machine outside."""
    port = lan.plug(host, "eth0", "192.0.2.10/24", "2001:db8:1::10/64")
    host.run(["ip", "route", "add", "default", "via", "192.0.2.1"])
    host.run(["ip", "-6", "route", "add", "default", "via", "2001:db8:1::1"])
    assert outside.name == "outside"
    return Uplink(switch_port=port)


@pytest.fixture
def daemon(host: Host) -> Iterator[Daemon]:
    """Give a jackfieldd that runs on the host."""
    with Daemon(host) as jackfieldd:
        yield jackfieldd


@pytest.fixture
def libvirt_daemon(host: Host) -> Iterator[Daemon]:
    """Give a daemon of ours in virtnetworkd's place, and libvirt's programs and client library."""
    reason = libvirtd.skip_reason()
    if reason is not None:
        pytest.skip(reason)
    libvirtd.use_stock_programs(host)
    with Daemon(host, config=CONFIG) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def open_vswitch() -> None:
    """Skip where there can be no Open vSwitch."""
    reason = openvswitch.skip_reason()
    if reason is not None:
        pytest.skip(reason)
