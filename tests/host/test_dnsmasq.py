"""dnsmasq with real guests: what a network's document says is what they get.

::

    upstream ── eth1 ┐                 ┌ eth0 ── guest "vm"
                     host ── br0 ──────┤
                     10.1.0.1/24       └ eth0 ── guest "vm2"
                     fd00:1::1/64
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import ipaddress
import math
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from uuid import UUID

import msgspec
import pytest

from jackfield.engine.leases.leases import compare_leases, read_leases
from jackfield.errors import ServiceError
from jackfield.host.dnsmasq import driver, files
from jackfield.host.dnsmasq.driver import DnsmasqDriver
from jackfield.host.dnsmasq.files import DnsmasqFiles
from jackfield.host.dnsmasq.quiet import unsubscribe
from jackfield.host.driver import ABSENT, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.service import process as processes
from jackfield.host.service.files import trim_log
from jackfield.host.service.process import Process
from jackfield.model.address import Dhcp, DhcpHost, DhcpRange, LeaseTime, LeaseUnit, Subnet
from jackfield.model.dns import Dns, DnsForwarder, DnsHost, DnsSrv, DnsTxt, Domain
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.values import DnsName, InterfaceName, MacAddress, NetworkName, Text
from jackfield.plan.dnsmasq import dnsmasq_service
from jackfield.state.services import Dnsmasq
from tests.host.services import until_ready
from tests.lab.dns import resolve
from tests.lab.guest import Guest
from tests.lab.host import Host
from tests.lab.wait import wait_for

pytestmark = pytest.mark.kernel

UUID_RED = UUID("5d1f1a3e-6c1c-4d8e-9d0b-1a2b3c4d5e6f")
BRIDGE = InterfaceName("br0")
VM = MacAddress("52:54:00:00:00:01")
VM2 = MacAddress("52:54:00:00:00:02")


class Site:
    """A host with a bridge and its addresses, and the driver that acts there."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        self.resolv_conf = folder / "resolv.conf"
        self.resolv_conf.write_text("")
        self.driver = DnsmasqDriver(self.resolv_conf)
        self.kernel = cast(Kernel, SimpleNamespace(run_dir=folder, state_dir=folder / "state"))
        self.files = DnsmasqFiles.of(folder, folder / "state", UUID_RED)
        for command in (
            f"ip link add {BRIDGE} type bridge stp_state 0",
            f"sysctl -qw net.ipv6.conf.{BRIDGE}.accept_dad=0",
            f"ip addr add 10.1.0.1/24 dev {BRIDGE}",
            f"ip addr add fd00:1::1/64 dev {BRIDGE} nodad",
            f"ip link set {BRIDGE} up",
        ):
            host.run(command.split())

    def guest(self, name: str, mac: MacAddress) -> Guest:
        """Plug a new guest into the bridge; its eth0 is down."""
        guest = self.host.guest(name)
        self.host.run(
            f"ip link add {name} type veth peer name eth0 address {mac} netns {name}".split()
        )
        guest.set_sysctl("net/ipv6/conf/eth0/accept_dad", "0")
        self.host.run(f"ip link set {name} master {BRIDGE} up".split())
        return guest

    def ensure(self, service: Dnsmasq, *, ready: bool = True) -> Process:
        """Make the host serve ``service`` and wait until it does."""
        with self.host.entered():
            self.driver.ensure(self.kernel, [service], {})
            process = self.driver.launched(self.kernel, service.network)
            if ready:
                asyncio.run(until_ready(process))
        return process

    def observe(self, service: Dnsmasq) -> Dnsmasq | None:
        """Return what the driver finds."""
        seen = self.driver.observe(self.kernel, [service])[service.key]
        assert seen.presence is Presence.OURS
        return cast("Dnsmasq | None", seen.resource)

    def close(self) -> None:
        """End every dnsmasq of this test, recorded or not."""
        processes.stop(self.driver.find(self.kernel))


@pytest.fixture
def site(host: Host, folder: Path) -> Iterator[Site]:
    """Give a host with a bridge."""
    place = Site(host, folder)
    yield place
    place.close()


def red(**changes: object) -> Network:
    """Return a NAT network with everything."""
    network = Network(
        name=NetworkName("red"),
        uuid=UUID_RED,
        mode=Mode.NAT,
        mtu=1400,
        # It would look for 3 s whether somebody has an address before it offers it.
        dnsmasq_options=(Text("no-ping"),),
        domain=Domain(name=DnsName("red.example"), local_only=True),
        dns=Dns(
            hosts=(
                DnsHost(
                    ip=ipaddress.ip_address("10.1.0.200"),
                    hostnames=(DnsName("printer"), DnsName("printer.red.example")),
                ),
            ),
            txts=(DnsTxt(name=Text("note.red.example"), value=Text('a, "b" # c')),),
            srvs=(
                DnsSrv(
                    service=Text("ldap"),
                    protocol=Text("tcp"),
                    domain=DnsName("red.example"),
                    target=DnsName("printer.red.example"),
                    port=389,
                    weight=7,
                ),
            ),
        ),
        subnets=(
            Subnet(
                address=ipaddress.ip_address("10.1.0.1"),
                prefix=24,
                local_ptr=True,
                dhcp=Dhcp(
                    ranges=(
                        DhcpRange(
                            start=ipaddress.ip_address("10.1.0.100"),
                            end=ipaddress.ip_address("10.1.0.110"),
                            lease=LeaseTime(expiry=30, unit=LeaseUnit.MINUTES),
                        ),
                    ),
                    hosts=(
                        DhcpHost(
                            mac=VM,
                            name=DnsName("vm"),
                            ip=ipaddress.ip_address("10.1.0.10"),
                        ),
                    ),
                ),
            ),
        ),
    )
    return msgspec.structs.replace(network, **changes)


def with_host(network: Network, address: str) -> Network:
    """Return ``network`` with another reservation for the guest."""
    (subnet,) = network.subnets
    assert subnet.dhcp is not None
    host = msgspec.structs.replace(subnet.dhcp.hosts[0], ip=ipaddress.ip_address(address))
    dhcp = msgspec.structs.replace(subnet.dhcp, hosts=(host,))
    return msgspec.structs.replace(network, subnets=(msgspec.structs.replace(subnet, dhcp=dhcp),))


def service_of(network: Network) -> Dnsmasq:
    """Return the plan's dnsmasq."""
    service = dnsmasq_service(network, BRIDGE, user="nobody")
    assert service is not None
    return service


def test_guest_gets_its_reservation(site: Site) -> None:
    """A reserved guest gets address, router, DNS, domain, MTU and name; the lease is read."""
    network = red()
    site.ensure(service_of(network))

    lease = site.guest("vm", VM).dhcp4(options=["mtu", "hostname"])

    assert lease is not None
    assert ("10.1.0.10", 24) == (lease.address, lease.prefix)
    assert ("10.1.0.1", ("10.1.0.1",)) == (lease.router, lease.dns)
    assert ("red.example", "1400", "vm") == (
        lease.domain,
        lease.options["mtu"],
        lease.options["hostname"],
    )
    (view,) = read_leases(site.files.leases, network, BRIDGE, now=time.time())
    assert (VM, ipaddress.ip_address("10.1.0.10"), 24, "vm") == (
        view.mac,
        view.address,
        view.prefix,
        view.hostname,
    )


def test_guest_gets_an_address_of_the_range(site: Site) -> None:
    """A guest without reservation gets one of the range, for as long as the range says."""
    site.ensure(service_of(red()))

    lease = site.guest("vm2", VM2).dhcp4(seconds=8)

    assert lease is not None
    assert lease.address in {f"10.1.0.{last}" for last in range(100, 111)}
    assert lease.lease == 1800


def test_isolated_guest_has_no_router(site: Site) -> None:
    """An isolated network hands out no router, and asks nobody outside."""
    site.resolv_conf.write_text("nameserver 203.0.113.53\n")
    site.ensure(service_of(red(mode=Mode.ISOLATED)))

    lease = site.guest("vm", VM).dhcp4()

    assert lease is not None
    assert lease.router is None
    assert "203.0.113.53" not in (site.files.read("servers") or "")


def test_reserved_ipv6_address(site: Site) -> None:
    """A guest with a reserved DUID gets its IPv6 address; the lease has IAID, DUID and MAC."""
    duid = "0:3:0:1:" + ":".join(format(octet, "x") for octet in VM.packed)
    network = red(
        subnets=(
            Subnet(
                address=ipaddress.ip_address("fd00:1::1"),
                prefix=64,
                dhcp=Dhcp(
                    hosts=(
                        DhcpHost(
                            id=Text(duid),
                            name=DnsName("vm"),
                            ip=ipaddress.ip_address("fd00:1::77"),
                        ),
                    )
                ),
            ),
        )
    )
    site.ensure(service_of(network))
    guest = site.guest("vm", VM)
    guest.run(["ip", "link", "set", "eth0", "up"])
    wait_for(lambda: guest.addresses(scope="link"), 10, "the link-local address")

    guest.dhclient6("-D", "LL", "-sf", "/bin/true", "-lf", "/run/lab/vm.leases6", "eth0")

    (view,) = read_leases(site.files.leases, network, BRIDGE)
    assert (ipaddress.ip_address("fd00:1::77"), 64, VM, "vm") == (
        view.address,
        view.prefix,
        view.mac,
        view.hostname,
    )
    assert view.client_id == "00:03:00:01:" + VM
    assert view.iaid is not None
    assert "iaaddr fd00:1::77" in site.host.file("/run/lab/vm.leases6").read_text()


def test_router_advertisement(site: Site) -> None:
    """A guest of an IPv6 subnet without DHCP makes itself an address, and has a router."""
    network = red(subnets=(Subnet(address=ipaddress.ip_address("fd00:1::1"), prefix=64),))
    site.ensure(service_of(network))
    guest = site.guest("vm", VM)
    guest.run(["ip", "link", "set", "eth0", "up"])

    (address,) = wait_for(guest.addresses, 15, "an address by SLAAC")

    assert address == "fd00:1::5054:ff:fe00:1/64"
    (route,) = guest.ip("-6", "route", "show", "default")
    assert 1400 == next(
        metric["mtu"] for metric in route.get("metrics", [{"mtu": None}]) if "mtu" in metric
    )


def test_isolated_router_advertisement_is_no_router(site: Site) -> None:
    """A guest of an isolated IPv6 subnet makes itself an address, and has no router."""
    network = red(
        mode=Mode.ISOLATED,
        subnets=(Subnet(address=ipaddress.ip_address("fd00:1::1"), prefix=64),),
    )
    site.ensure(service_of(network))
    guest = site.guest("vm", VM)
    guest.run(["ip", "link", "set", "eth0", "up"])

    wait_for(guest.addresses, 15, "an address by SLAAC")

    assert [] == guest.ip("-6", "route", "show", "default")


def test_names_are_answered(site: Site) -> None:
    """Hosts, TXT, SRV and PTR records come from the document."""
    site.ensure(service_of(red()))

    def ask(name: str, kind: str) -> tuple[str, ...] | None:
        answer = resolve(site.host, name, "10.1.0.1", kind)
        return None if answer is None else answer.records

    assert ("10.1.0.200",) == ask("printer", "A")
    assert ("10.1.0.200",) == ask("printer.red.example", "A")
    assert ("printer.red.example",) == ask("10.1.0.200", "PTR")
    assert ('a, "b" # c',) == ask("note.red.example", "TXT")
    assert ("0 7 389 printer.red.example",) == ask("_ldap._tcp.red.example", "SRV")


def test_queries_are_forwarded(site: Site) -> None:
    """Only the forwarder's domain goes to its server; the rest follows the host's resolver."""
    upstream = _upstream(site, "198.51.100.53", "/corp.example/192.0.2.1")
    other = _upstream(site, "198.51.100.54", "/world.example/192.0.2.2")
    try:
        network = red(
            dns=Dns(
                forwarders=(
                    DnsForwarder(
                        domain=DnsName("corp.example"),
                        address=ipaddress.ip_address("198.51.100.53"),
                    ),
                )
            )
        )
        site.ensure(service_of(network))
        answer = resolve(site.host, "www.corp.example", "10.1.0.1")
        assert answer is not None
        assert ("192.0.2.1",) == answer.records
        refused = resolve(site.host, "www.world.example", "10.1.0.1")
        assert refused is not None
        assert () == refused.records

        site.resolv_conf.write_text("# comment\nnameserver 198.51.100.54\noptions edns0\n")
        pid = site.driver.running(site.kernel, UUID_RED)
        changed = site.driver.refresh_servers(site.kernel, [service_of(network)])

        assert [UUID_RED] == changed
        assert [] == site.driver.refresh_servers(site.kernel, [service_of(network)])
        wait_for(
            lambda: (
                (answer := resolve(site.host, "www.world.example", "10.1.0.1")) is not None
                and answer.records == ("192.0.2.2",)
            ),
            5,
            "the new upstream server",
        )
        assert pid == site.driver.running(site.kernel, UUID_RED)
    finally:
        processes.stop([upstream, other])


def _upstream(site: Site, address: str, record: str) -> Process:
    """Start another DNS server on an address of the host's, which answers ``record``."""
    site.host.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"])
    files = DnsmasqFiles(
        network=UUID(int=int(ipaddress.ip_address(address))),
        directory=site.kernel.run_dir
        / "dnsmasq"
        / str(UUID(int=int(ipaddress.ip_address(address)))),
        leases=site.kernel.run_dir / "none",
    )
    files.make()
    files.write(
        "config",
        f"listen-address={address}\nbind-interfaces\nno-resolv\nno-hosts\n"
        f"except-interface=lo0\naddress={record}\npid-file={files.pid}\nlog-facility=-\n",
    )
    with site.host.entered():
        process = processes.identify(
            files,
            processes.spawn(["/usr/sbin/dnsmasq", "--keep-in-foreground", files.mark], files.log),
        )
        assert process is not None
        asyncio.run(until_ready(process))
    return process


def test_reservation_changes_without_restart(site: Site) -> None:
    """Another reservation, name and option need a SIGHUP, not another process."""
    before = site.ensure(service_of(red()))
    guest = site.guest("vm", VM)
    first = guest.dhcp4()
    assert first is not None

    changed = service_of(with_host(red(mtu=1300), "10.1.0.20"))
    changed = dataclasses.replace(changed, names="10.1.0.201 scanner\n")
    assert service_of(red()).config == changed.config
    after = site.ensure(changed)
    assert before.pid == after.pid
    assert changed == site.observe(changed)

    wait_for(
        lambda: (
            (answer := resolve(site.host, "scanner", "10.1.0.1")) is not None
            and answer.records == ("10.1.0.201",)
        ),
        5,
        "the new name",
    )
    second = guest.dhcp4(options=["mtu"])
    assert second is not None
    assert ("10.1.0.20", "1300") == (second.address, second.options["mtu"])


def test_change_of_config_restarts_and_keeps_leases(site: Site) -> None:
    """A change that dnsmasq cannot take while it runs gives a new process with the old leases."""
    network = red()
    before = site.ensure(service_of(network))
    guest = site.guest("vm2", VM2)
    lease = guest.dhcp4(seconds=8)
    assert lease is not None
    leases = read_leases(site.files.leases, network, BRIDGE)

    moved = msgspec.structs.replace(network, domain=Domain(name=DnsName("blue.example")))
    after = site.ensure(service_of(moved))

    assert before.pid != after.pid
    assert not before.is_alive()
    kept = read_leases(site.files.leases, moved, BRIDGE)
    assert not any(dataclasses.astuple(compare_leases(leases, kept)))
    again = guest.dhcp4(seconds=8)
    assert again is not None
    assert (lease.address, "blue.example") == (again.address, again.domain)


def written_by_us(site: Site) -> dict[Path, int]:
    """Return when each file was written; the log is dnsmasq's own, which may just be starting."""
    paths = set(site.files.directory.iterdir()) - {site.files.log}
    return {path: path.stat().st_mtime_ns for path in paths}


def test_ensuring_again_changes_nothing(site: Site) -> None:
    """The same service again is the same process and no write."""
    service = service_of(red())
    before = site.ensure(service)
    assert service == site.observe(service)
    stamps = written_by_us(site)

    after = site.ensure(service)

    assert before.pid == after.pid
    assert stamps == written_by_us(site)


def test_removing_keeps_the_leases(site: Site) -> None:
    """Nothing stays but the lease file."""
    service = service_of(red())
    process = site.ensure(service)

    site.driver.remove(site.kernel, [service])

    assert not process.is_alive()
    with pytest.raises(ServiceError, match="no dnsmasq was started"):
        site.driver.launched(site.kernel, UUID_RED)
    assert not site.files.directory.exists()
    assert site.files.leases.exists()
    assert ABSENT == site.driver.observe(site.kernel, [service])[service.key]
    site.driver.remove(site.kernel, [service])
    site.driver.forget_leases(site.kernel, UUID_RED)
    assert not site.files.leases.exists()


def test_dead_process_is_observed_and_replaced(site: Site) -> None:
    """A network whose dnsmasq was killed is not as it should be, and is made so."""
    service = service_of(red())
    process = site.ensure(service)
    os.kill(process.pid, 9)
    process.reap()
    wait_for(lambda: not process.is_alive(), 5, "the end of the process")

    seen = site.observe(service)
    assert seen is not None
    assert "" == seen.config
    after = site.ensure(service)

    assert process.pid != after.pid
    assert service == site.observe(service)


def test_orphan_is_found_and_adopted(site: Site) -> None:
    """A dnsmasq that was started and not recorded is found by its configuration's path."""
    service = service_of(red())
    process = site.ensure(service, ready=False)
    # As after a crash just between the start and either record of it.
    site.files.process.unlink(missing_ok=True)
    site.files.pid.unlink(missing_ok=True)
    driver = DnsmasqDriver()
    (adopted,) = wait_for(lambda: driver.adopt_orphans(site.kernel), 5, "the orphan")
    assert process.pid == adopted.pid

    assert adopted == driver.running(site.kernel, UUID_RED)
    assert [] == driver.adopt_orphans(site.kernel)


def test_what_a_crash_leaves_of_no_network_goes(site: Site) -> None:
    """One that waits for its configuration is ended, and its files go; one on record serves on."""
    service = service_of(red())
    with site.host.entered():
        site.driver.prepare(site.kernel, [service])
        waiting = site.driver.launched(site.kernel, UUID_RED)
    wait_for(lambda: site.files.mark in arguments_of(waiting.pid), 5, "it to be dnsmasq")
    assert ([], []) == DnsmasqDriver().sweep(site.kernel, {UUID_RED})
    assert site.files.directory.exists()
    site.files.process.unlink()
    ended, serving = DnsmasqDriver().sweep(site.kernel, set())
    assert [waiting.pid] == [one.pid for one in ended]
    assert [] == serving
    assert not waiting.is_alive()
    assert not site.files.directory.exists()
    site.files.make()
    assert ([], []) == DnsmasqDriver().sweep(site.kernel, set())
    assert not site.files.directory.exists()
    site.driver = DnsmasqDriver(site.resolv_conf)
    known = site.ensure(service)
    site.driver.running(site.kernel, UUID_RED)
    ended, serving = DnsmasqDriver().sweep(site.kernel, set())
    assert [] == ended
    assert [known.pid] == [one.pid for one in serving]
    assert known.is_alive()
    # Somebody ends it, as he was told to.
    processes.stop([known])
    assert ([], []) == DnsmasqDriver().sweep(site.kernel, set())
    assert not site.files.directory.exists()


def arguments_of(pid: int) -> list[str]:
    """Return the command line of a process."""
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def test_pid_of_another_program_is_not_ours(site: Site) -> None:
    """A pid that by now is another program's is neither used nor signalled."""
    service = service_of(red())
    process = site.ensure(service)
    processes.stop([process])
    # This very process stands for the other program.
    stat = Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()
    site.files.write("process", f"{os.getpid()} {stat[19]}\n")
    site.files.write("pid", f"{os.getpid()}\n")

    assert site.driver.running(site.kernel, UUID_RED) is None
    site.driver.remove(site.kernel, [service])


def test_taken_port_names_its_holder(site: Site) -> None:
    """Port 53 in use: the error names port and holder; the engine adds the network."""
    with site.host.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("10.1.0.1", 53))
        with pytest.raises(ServiceError) as caught:
            site.ensure(service_of(red()))

    message = caught.value.message
    assert message.startswith("dnsmasq ended: failed to create listening socket for 10.1.0.1")
    assert "Address already in use" in message
    assert f"port 53, held by {Path('/proc/self/comm').read_text().strip()}" in message
    assert f"pid {os.getpid()}" in message


def test_a_directory_that_cannot_be_served_is_told(site: Site) -> None:
    """A TFTP root that is not there ends dnsmasq after it has bound its sockets; that is said."""
    (subnet,) = red().subnets
    root = Text("/run/lab/no-such-root")
    with pytest.raises(ServiceError, match=rf"{root} inaccessible: No such file"):
        site.ensure(service_of(red(subnets=(msgspec.structs.replace(subnet, tftp_root=root),))))


def test_one_that_serves_for_long_is_ready(site: Site) -> None:
    """That it started is in its log no more when much was written there since."""
    service = service_of(red())
    process = site.ensure(service)
    for _ in range(2):
        with site.files.log.open("ab") as log:
            log.write(f"dnsmasq-dhcp[{process.pid}]: much of it\n".encode() * 50_000)
        trim_log(site.files.log)
    # The clock is set back: what it did first seems to have been last.
    later = time.time() + 7200
    os.utime(site.files.pid, (later, later))

    assert process.pid == site.ensure(service).pid


def test_closed_run_directory_is_refused(site: Site) -> None:
    """A run directory that dnsmasq's user cannot enter is an error, not a silent failure."""
    site.kernel.run_dir.chmod(0o700)

    with pytest.raises(ServiceError, match="closed to its user"):
        site.ensure(service_of(red()))


def test_one_that_ends_before_it_reads_its_configuration(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last words are told at once; that nobody comes to the pipe is not waited for."""
    program = folder / "program"
    program.write_text("#!/bin/sh\necho dnsmasq: cannot read it: Permission denied >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(driver, "find_program", lambda *_: str(program))
    monkeypatch.setattr(files, "_FEED_LIMIT", math.inf)
    with site.host.entered():
        site.driver.prepare(site.kernel, [service_of(red())])
    with pytest.raises(ServiceError, match="ended: cannot read it: Permission denied") as caught:
        site.ensure(service_of(red()))
    # What it wrote goes with a network that does not start.
    assert "/log" not in (caught.value.hint or "")


def test_one_that_stops_reading_its_configuration(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an error; nobody waits for ever until a long one fits into the pipe."""
    program, come = folder / "program", folder / "come"
    program.write_text(
        f"#!{sys.executable} -IS\nimport os, sys, time\n"
        f"os.close(os.open({str(come)!r}, os.O_CREAT))\n"
        "os.open(sys.argv[2].partition('=')[2], os.O_RDONLY)\ntime.sleep(5)\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(driver, "find_program", lambda *_: str(program))
    texts = (DnsTxt(name=Text(f"t{number}.red.example"), value=Text("x")) for number in range(5000))
    service = service_of(red(dns=Dns(txts=tuple(texts))))
    with site.host.entered():
        site.driver.prepare(site.kernel, [service])
    wait_for(come.exists, 5, "the program to come to its configuration")
    monkeypatch.setattr(files, "_FEED_LIMIT", 0.5)
    with pytest.raises(ServiceError, match="has stopped reading"):
        site.ensure(service)


def test_it_may_run_where_we_may(site: Site) -> None:
    """While it waits it has processors of its own where there are several, and then all of ours."""
    service = service_of(red())
    with site.host.entered():
        site.driver.prepare(site.kernel, [service])
        waiting = site.driver.launched(site.kernel, UUID_RED)
    ours = os.sched_getaffinity(0)
    assert max(len(ours) - 1, 1) == len(os.sched_getaffinity(waiting.pid))
    serving = site.ensure(service)
    assert (waiting.pid, ours) == (serving.pid, os.sched_getaffinity(serving.pid))


def test_no_process_can_be_started(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what is used up."""

    def refuse(*_: object, **__: object) -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "posix_spawn", refuse)
    with pytest.raises(ServiceError, match=r"cannot start .*/dnsmasq: Resource temp") as caught:
        site.driver.prepare(site.kernel, [service_of(red())])
    assert caught.value.hint is not None
    assert "TasksMax=" in caught.value.hint


def test_other_networks_do_not_wake_it(site: Site) -> None:
    """A dnsmasq that is watched is subscribed to nothing, though it sends advertisements."""
    subnets = (*red().subnets, Subnet(address=ipaddress.ip_address("fd00:1::1"), prefix=64))
    process = site.ensure(service_of(red(subnets=subnets)))
    unsubscribe(process)

    table = Path(f"/proc/{process.pid}/net/netlink").read_text().splitlines()[1:]
    groups = {fields[2]: fields[3] for fields in map(str.split, table) if fields[1] == "0"}
    assert {"00000000"} == set(groups.values())
    assert str(process.pid) in groups


def test_no_inotify_and_nothing_inherited(site: Site) -> None:
    """An instance has no inotify of its own and none of our descriptors."""
    with tempfile.TemporaryFile() as secret:
        os.set_inheritable(secret.fileno(), True)
        process = site.ensure(service_of(red()))
        links = {str(path.readlink()) for path in Path(f"/proc/{process.pid}/fd").iterdir()}

    assert not [link for link in links if "inotify" in link]
    allowed = {"/dev/null", str(site.files.log), str(site.files.leases)}
    assert set() == {link for link in links if not link.startswith(("socket:", "pipe:"))} - allowed
    assert str(process.pid) in Path(f"/proc/{process.pid}/stat").read_text().split()[5]
