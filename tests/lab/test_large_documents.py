"""Networks with thousands of hosts or ports: whatever is done, others are not kept waiting.

The daemon's watch (``tests/lab/watched_daemon.py``) fails a test in which the event loop is held.
"""

from __future__ import annotations

import uuid

import pytest

from jackfield.client import Client
from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.host import Host
from tests.lab.libvirtd import use_stock_programs
from tests.lab.wait import wait_for
from tests.rpc.client import RawClient

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

HOSTS = 16_000
RECORDS = 2_000
ROUTES = 500
PORTS = 10_000
URI = f"network:///system?socket={RUN_DIR}/libvirt-sock"


def address(number: int) -> str:
    """Return one of the addresses that are handed out."""
    return f"10.0.{number // 250 + 1}.{number % 250 + 1}"


def document(hosts: int = HOSTS) -> str:
    """Return a network with that many static hosts, and many records and routes."""
    given = "".join(
        f"<host mac='52:54:00:00:{number // 256:02x}:{number % 256:02x}' name='host{number}' "
        f"ip='{address(number)}'/>"
        for number in range(hosts)
    )
    names = "".join(
        f"<host ip='10.0.250.1'><hostname>record{number}</hostname></host>"
        f"<txt name='text{number}' value='some text'/>"
        for number in range(RECORDS)
    )
    ways = "".join(
        f"<route address='172.16.{number // 64}.{number % 64 * 4}' prefix='30' "
        "gateway='10.0.250.9'/>"
        for number in range(ROUTES)
    )
    return f"""
    <network>
      <name>large</name>
      <forward mode='nat'/>
      <bridge name='virbr0' stp='off' delay='0'/>
      <dns>{names}</dns>
      <ip address='10.0.0.1' prefix='16'>
        <dhcp><range start='10.0.240.1' end='10.0.240.99'/>{given}</dhcp>
      </ip>
      {ways}
    </network>
    """


def told(host: Host) -> str:
    """Return what dnsmasq was told of hosts."""
    (found,) = host.file(RUN_DIR).glob("dnsmasq/*/hosts")
    return found.read_text()


def test_the_loop_is_not_held(host: Host, daemon: Daemon) -> None:
    """A large network is defined, started, shown, changed, kept over a restart, and undefined."""
    use_stock_programs(host)

    def virsh(*arguments: str) -> str:
        return host.run(["virsh", "-c", URI, *arguments], timeout=60).stdout

    first = daemon.document(document(HOSTS - 1))
    whole = daemon.document(document())
    daemon.cli("define", first)
    daemon.cli("plan", "large")
    daemon.cli("autostart", "large")
    daemon.cli("start", "large")
    assert HOSTS - 1 == len(told(host).splitlines())
    assert f"'host{HOSTS - 2}'" in daemon.cli("show", "large")
    shown = Client(daemon.api_socket.parent).request("GET", "/v1/networks/large")
    assert shown["stored"] == shown["live"]
    daemon.cli("apply", whole)
    daemon.cli("apply", whole)
    daemon.cli("apply", "large")
    daemon.cli("plan", "large")
    assert HOSTS == len(told(host).splitlines())
    assert f"'host{HOSTS - 1}'" in virsh("net-dumpxml", "large")
    virsh("net-desc", "large", "--live", "many hosts")
    virsh("net-desc", "large", "--config", "many hosts")
    entry = "<host mac='52:54:00:00:ff:ff' ip='10.0.240.200'/>"
    virsh("net-update", "large", "add", "ip-dhcp-host", entry, "--live", "--config")
    assert "52:54:00:00:ff:ff,10.0.240.200" in told(host)
    daemon.cli("list")
    daemon.cli("attach", "large", "--tap", "tap0")
    daemon.cli("detach", "tap0")
    daemon.restart()
    daemon.cli("stop", "large")
    virsh("net-start", "large")
    virsh("net-destroy", "large")
    daemon.cli("undefine", "large")
    virsh("net-create", first)
    virsh("net-destroy", "large")


def test_metadata_does_not_hold_the_loop(host: Host, daemon: Daemon) -> None:
    """What an application keeps with a network may be long as well."""
    network = "<network><name>red</name><bridge name='red0'/></network>"
    daemon.cli("apply", daemon.document(network))
    uri = "http://x.example/"
    kept = "<a>" + "<b c='1'>text</b>" * 40_000 + "</a>"
    with RawClient(host.file(RUN_DIR) / "libvirt-sock") as client:
        client.open()
        red = client.lookup("red")
        client.call("network_set_metadata", red, 2, kept, "x", uri, 3)
        (found,) = client.call("network_get_metadata", red, 2, uri, 0)
        assert 40_000 == found.count("<b c=")
        (text,) = client.call("network_get_xml", red, 0)
        assert 40_000 == text.count("<x:b c=")
        client.call("network_set_metadata", red, 2, None, None, uri, 3)


def test_leases_do_not_hold_the_loop(host: Host, daemon: Daemon) -> None:
    """Each lease that dnsmasq gives or renews has the daemon read all of its network's."""
    daemon.cli("apply", daemon.document(document(0)))
    (network,) = daemon.cli("list", json=True)
    (path,) = host.file(daemon.state_dir).glob(f"dnsmasq/{network['uuid']}.leases")

    def lines(numbers: range) -> str:
        return "".join(
            f"4000000000 52:54:00:00:{number // 256:02x}:{number % 256:02x} {address(number)} "
            f"host{number} *\n"
            for number in numbers
        )

    def is_told(number: int) -> bool:
        return address(number) in daemon.cli("events", "--no-follow")

    count = HOSTS - 1
    with path.open("a") as file:
        file.write(lines(range(count)))
    wait_for(lambda: is_told(count - 1), 60, "the leases to be told of")
    with path.open("a") as file:
        file.write(lines(range(count, count + 1)))
    wait_for(lambda: is_told(count), 60, "another one to be told of")
    assert count + 1 == len(daemon.cli("leases", json=True))
    daemon.restart()
    assert count + 1 == len(daemon.cli("leases", json=True))


def test_many_ports_do_not_hold_the_loop(host: Host, daemon: Daemon) -> None:
    """Libvirt's clients and people list thousands of ports and leases."""
    daemon.cli("apply", daemon.document(document(0)))
    port = (
        "<networkport><uuid>{0}</uuid><owner><name>guest{1}</name><uuid>{0}</uuid></owner>"
        "<mac address='52:54:00:00:{2:02x}:{3:02x}'/></networkport>"
    )
    with RawClient(host.file(RUN_DIR) / "libvirt-sock") as client:
        client.open()
        large = client.lookup("large")
        for number in range(PORTS):
            text = port.format(uuid.UUID(int=number + 1), number, number // 256, number % 256)
            client.call("port_create", large, text, 0)
        found, count = client.call("list_all_ports", large, 1, 0)
        assert PORTS == count == len(found)
        assert [[], PORTS] == client.call("list_all_ports", large, 0, 0)
        (network,) = daemon.cli("list", json=True)
        (path,) = host.file(daemon.state_dir).glob(f"dnsmasq/{network['uuid']}.leases")
        with path.open("a") as file:
            for number in range(PORTS):
                mac = f"52:54:00:00:{number // 256:02x}:{number % 256:02x}"
                file.write(f"4000000000 {mac} {address(number)} host{number} *\n")
        leases, count = client.call("network_get_leases", large, None, 1, 0)
        assert PORTS == count == len(leases)
    assert PORTS == len(daemon.cli("ports", json=True))
    assert f"guest{PORTS - 1}" in daemon.cli("ports")
    daemon.restart()
    assert PORTS == len(daemon.cli("ports", "large", json=True))
    daemon.cli("apply", "large")
    daemon.cli("stop", "large")
    daemon.cli("start", "large")
    daemon.cli("apply", daemon.document(document(2)))
    daemon.cli("plan", "large")
