"""libvirt's own QEMU driver, unmodified, starts guests on networks of ours (virt-qemu-run)."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.lab import libvirtd, openvswitch
from tests.lab.daemon import Daemon
from tests.lab.host import Host, HostProcess
from tests.lab.switch import Lan
from tests.lab.virsh import CONFIG
from tests.lab.wait import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.slow]

RED = """
<network>
  <name>red</name>
  <forward mode='nat'/>
  <bridge name='red0' stp='off'/>
  <ip address='192.168.150.1' netmask='255.255.255.0'>
    <dhcp><range start='192.168.150.10' end='192.168.150.99'/></dhcp>
  </ip>
  <portgroup name='single' count='1'/>
</network>
"""
#: There are no cgroups of its own and no virtlogd in a lab host.
DRIVER = "libvirt's QEMU driver"
PROGRAM = Path(__file__).with_name("qemu_driver.py")
QEMU_CONF = 'stdio_handler = "file"\nuser = "root"\ngroup = "root"\ncgroup_controllers = []\n'


def domain(name: str, mac: str, source: str) -> str:
    """Return a guest without disks that waits in its firmware."""
    return f"""
    <domain type='qemu'>
      <name>{name}</name>
      <memory unit='MiB'>64</memory>
      <os><type arch='x86_64' machine='pc'>hvm</type></os>
      <features><acpi/></features>
      <cpu mode='custom' check='none'>
        <model>qemu64</model><feature policy='disable' name='svm'/>
      </cpu>
      <devices>
        <emulator>/usr/bin/qemu-system-x86_64</emulator>
        <interface type='network'>
          <mac address='{mac}'/>
          <source {source}/>
          <model type='virtio'/>
        </interface>
      </devices>
    </domain>"""


@pytest.fixture
def daemon(host: Host) -> Iterator[Daemon]:
    """Give a daemon of ours in virtnetworkd's place, on a host with the driver."""
    reason = libvirtd.qemu_skip_reason()
    if reason is not None:
        pytest.skip(reason)
    libvirtd.use_qemu(host)
    with Daemon(host, config=CONFIG) as jackfieldd:
        jackfieldd.cli("define", jackfieldd.document(RED))
        jackfieldd.cli("start", "red")
        yield jackfieldd


class Driver:
    """libvirt's QEMU driver in a program of its own, which can be ended and begun again."""

    def __init__(self, host: Host) -> None:
        """Begin."""
        self._host = host
        host.file("/run/lab/driver/etc").mkdir(parents=True)
        host.file("/run/lab/driver/etc/qemu.conf").write_text(QEMU_CONF)
        host.file("/run/lab/qemu_driver.py").write_text(PROGRAM.read_text())
        self._process: HostProcess
        self.begin()

    def begin(self) -> None:
        """Start the program."""
        self._process = self._host.start(
            ["/usr/bin/python3", "/run/lab/qemu_driver.py", "/run/lab/driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def end(self) -> None:
        """End the program; its domains go on."""
        assert self._process.popen.stdin is not None
        self._process.popen.stdin.close()
        assert 0 == self._process.wait(20)

    def ask(self, *words: str) -> ElementTree.Element:
        """Obey a command; return the live document that it answers with."""
        answer = self._exchange(*words)
        assert "error" not in answer, answer["error"]
        return ElementTree.fromstring(answer["answer"] or "<none/>")

    def refusal(self, *words: str) -> str:
        """Return the error that a command gives."""
        return str(self._exchange(*words)["error"])

    def _exchange(self, *words: str) -> dict[str, Any]:
        popen = self._process.popen
        assert popen.stdin is not None
        assert popen.stdout is not None
        popen.stdin.write(" ".join(words) + "\n")
        popen.stdin.flush()
        line = popen.stdout.readline()
        assert line, f"the driver ended with {self._process.wait(5)}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def document(self, name: str, text: str) -> str:
        """Write a document; return its path on the host."""
        path = f"/run/lab/{name}.xml"
        self._host.file(path).write_text(text)
        return path


def interface(mac: str, source: str) -> str:
    """Return a guest's interface."""
    return f"""
    <interface type='network'>
      <mac address='{mac}'/><source {source}/><model type='virtio'/>
    </interface>"""


def device_of(document: ElementTree.Element, mac: str) -> str:
    """Return the name that the driver gave the host's end of an interface."""
    for one in document.iterfind("devices/interface"):
        if one.find("mac").get("address") == mac:  # type: ignore[union-attr]
            return str(one.find("target").get("dev"))  # type: ignore[union-attr]
    raise AssertionError(f"no interface {mac}")


def run(
    host: Host, name: str, mac: str, source: str = "network='red' portgroup='single'"
) -> HostProcess:
    """Start a guest with a driver of its own."""
    root = f"/run/lab/{name}"
    host.file(f"{root}/etc").mkdir(parents=True)
    host.file(f"{root}/etc/qemu.conf").write_text(QEMU_CONF)
    host.file(f"{root}/domain.xml").write_text(domain(name, mac, source))
    with host.file(f"{root}/output").open("w") as log:
        return host.start(
            ["virt-qemu-run", "-v", "-r", root, f"{root}/domain.xml"], stdout=log, stderr=log
        )


def wait_running(host: Host, name: str, guest: HostProcess) -> None:
    """Wait until the driver says that the guest runs."""

    def running() -> bool:
        told = host.file(f"/run/lab/{name}/output").read_text()
        assert guest.poll() is None, told
        return "guest running" in told

    wait_for(running, 60, f"guest {name} to run")


@pytest.mark.shows("nat", DRIVER)
def test_guests_start_run_and_end(host: Host, daemon: Daemon) -> None:
    """A guest has its port and tap; a full portgroup refuses the next; restarts change nothing."""
    first = run(host, "first", "52:54:00:00:00:01")

    wait_running(host, "first", first)
    (port,) = daemon.cli("ports", json=True)
    assert ("client", "first", "single", "52:54:00:00:00:01") == (
        port["realiser"],
        port["owner"]["name"],
        port["group"],
        port["mac"],
    )
    tap = port["device"]
    assert "master red0" in host.run(["ip", "link", "show", tap]).stdout

    second = run(host, "second", "52:54:00:00:00:02")
    assert 1 == second.wait(60)
    refusal = "network 'red' has no free port for portgroup 'single': portgroup 'single' 1/1"
    assert refusal in host.file("/run/lab/second/output").read_text()

    daemon.restart()
    daemon.cli("stop", "red")
    assert "master" not in host.run(["ip", "link", "show", tap]).stdout
    daemon.cli("start", "red")
    assert "master red0" in host.run(["ip", "link", "show", tap]).stdout
    assert [port] == daemon.cli("ports", json=True)

    assert 0 == first.stop(30)
    assert [] == daemon.cli("ports", json=True)


def test_a_guest_kept_to_its_addresses(host: Host, daemon: Daemon) -> None:
    """The driver's tap is guarded by its name while the guest runs, and not after it."""
    guarded = RED.replace("<network>", "<network antiSpoofing='yes'>", 1)
    daemon.cli("apply", daemon.document(guarded))
    guest = run(host, "first", "52:54:00:00:00:01")
    wait_running(host, "first", guest)
    (port,) = daemon.cli("ports", json=True)

    def macs() -> str:
        return host.run(["nft", "list", "table", "bridge", "jackfield"], check=False).stdout

    wait_for(lambda: f'"{port["device"]}" . 52:54:00:00:00:01' in macs(), 5, "the tap's guard")
    assert 0 == guest.stop(30)
    wait_for(lambda: not macs(), 5, "the guard to go with the tap")


@pytest.mark.shows("bridge", DRIVER)
def test_a_guest_on_a_bridge_of_somebody_else(host: Host, daemon: Daemon) -> None:
    """The tap is on the bridge that the network names, and the bridge is left as it was."""
    host.run(["ip", "link", "add", "br0", "type", "bridge"])
    host.run(["ip", "link", "set", "br0", "up"])
    document = "<network><name>out</name><forward mode='bridge'/><bridge name='br0'/></network>"
    daemon.cli("define", daemon.document(document))
    daemon.cli("start", "out")
    guest = run(host, "guest", "52:54:00:00:00:03", "network='out'")
    wait_running(host, "guest", guest)
    (port,) = daemon.cli("ports", json=True)
    assert {"kind": "bridge", "bridge": "br0"} == port["plug"]
    assert "master br0" in host.run(["ip", "link", "show", port["device"]]).stdout
    assert 0 == guest.stop(30)
    assert [] == daemon.cli("ports", json=True)
    host.run(["ip", "link", "show", "br0"])


OPENVSWITCH = """
<network>
  <name>out</name>
  <forward mode='bridge'/>
  <bridge name='ovs0'><uplinks><interface dev='eth8'/></uplinks></bridge>
  <virtualport type='openvswitch'/>
  <portgroup name='blue' default='yes'>
    <virtualport><parameters profileid='web'/></virtualport><vlan><tag id='42'/></vlan>
  </portgroup>
</network>
"""


@pytest.mark.shows("bridge of Open vSwitch", DRIVER)
def test_a_guest_on_open_vswitch(host: Host, lan: Lan, daemon: Daemon) -> None:
    """The driver puts the tap there as our port says; a restart of the network puts it back."""
    reason = openvswitch.skip_reason()
    if reason is not None:
        pytest.skip(reason)
    lan.plug(host, "eth8")
    place = Path("/run/openvswitch")
    with openvswitch.OpenVSwitch(host, place, host.file(place)) as switch:
        switch.give_vsctl(host.file("/usr/bin/ovs-vsctl"))
        daemon.cli("define", daemon.document(OPENVSWITCH))
        daemon.cli("start", "out")
        driver = Driver(host)
        guest = domain("guest", "52:54:00:00:00:01", "network='out'")
        live = driver.ask("start", driver.document("guest", guest))
        tap = device_of(live, "52:54:00:00:00:01")
        (port,) = daemon.cli("ports", json=True)

        def rows() -> tuple[object, ...]:
            made, wanted = switch.row("Port", tap), switch.row("Interface", tap)
            assert made is not None
            assert wanted is not None
            return made["tag"], wanted["external_ids"], wanted["error"]

        before = rows()
        assert (
            42,
            {
                "attached-mac": "52:54:00:00:00:01",
                "iface-id": port["virtualport"]["interface_id"],
                "iface-status": "active",
                "ifname": tap,
                "port-profile": "web",
                "vm-id": port["owner"]["uuid"],
            },
            [],
        ) == before
        daemon.cli("stop", "out")
        assert switch.row("Port", tap) is None
        daemon.cli("start", "out")
        assert {tap, "eth8"} == switch.ports("ovs0")
        wait_for(lambda: before == rows(), 10, "ovs-vswitchd to take the guest back")
        driver.ask("end")
        assert [] == daemon.cli("ports", json=True)
        assert {"eth8"} == switch.ports("ovs0")
        driver.end()
        daemon.cli("stop", "out")


MACVTAP = """
<network>
  <name>lan</name>
  <forward mode='{mode}'><interface dev='eth8'/></forward>
</network>
"""


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param("bridge", marks=pytest.mark.shows("macvtap-bridge", DRIVER)),
        pytest.param("vepa", marks=pytest.mark.shows("vepa", DRIVER)),
        pytest.param("private", marks=pytest.mark.shows("private", DRIVER)),
        pytest.param("passthrough", marks=pytest.mark.shows("passthrough", DRIVER)),
    ],
)
def test_a_guest_right_on_an_uplink(host: Host, lan: Lan, daemon: Daemon, mode: str) -> None:
    """The driver makes the macvtap that our port says; the uplink is free again afterwards."""
    lan.plug(host, "eth8")
    before = host.ip("link", "show", "dev", "eth8")[0]["address"]
    daemon.cli("apply", daemon.document(MACVTAP.format(mode=mode)))
    driver = Driver(host)
    first = domain("first", "52:54:00:00:00:01", "network='lan'")
    live = driver.ask("start", driver.document("first", first))

    device = device_of(live, "52:54:00:00:00:01")
    (link,) = host.ip("-d", "link", "show", "dev", device)
    assert ("macvtap", "passthru" if mode == "passthrough" else mode, "eth8") == (
        link["linkinfo"]["info_kind"],
        link["linkinfo"]["info_data"]["mode"],
        link["link"],
    )
    (port,) = daemon.cli("ports", json=True)
    assert {"kind": "direct", "dev": "eth8", "mode": mode} == port["plug"]
    assert device == port["device"]
    second = driver.document("second", domain("second", "52:54:00:00:00:02", "network='lan'"))
    if mode == "passthrough":
        assert "eth8 1/1" in driver.refusal("start", second)
    else:
        driver.ask("start", second)
        assert 2 == len(daemon.cli("ports", json=True))

    driver.ask("end")
    assert [] == daemon.cli("ports", json=True)
    assert before == host.ip("link", "show", "dev", "eth8")[0]["address"]
    driver.end()


def test_plugging_in_while_it_runs_and_restarts_of_both(host: Host, daemon: Daemon) -> None:
    """A second NIC is plugged in; a new driver, and a new daemon of ours, find all ports."""
    driver = Driver(host)
    both = {"52:54:00:00:00:01", "52:54:00:00:00:02"}
    document = domain("guest", "52:54:00:00:00:01", "network='red' portgroup='single'")
    driver.ask("start", driver.document("guest", document))
    nic = driver.document("nic", interface("52:54:00:00:00:02", "network='red'"))
    live = driver.ask("attach", "guest", nic)
    tap = device_of(live, "52:54:00:00:00:02")
    assert "master red0" in host.run(["ip", "link", "show", tap]).stdout
    before = daemon.cli("ports", json=True)
    assert both == {port["mac"] for port in before}
    full = interface("52:54:00:00:00:03", "network='red' portgroup='single'")
    assert "portgroup 'single' 1/1" in driver.refusal(
        "attach", "guest", driver.document("full", full)
    )

    # The driver alone; the ports are there already.
    driver.end()
    driver.begin()
    driver.ask("show", "guest")
    assert before == daemon.cli("ports", json=True)

    # Both, and ours has lost the ports: the driver, which comes later, takes them back.
    driver.end()
    for port in before:
        daemon.cli("detach", port["uuid"])
    daemon.kill9()
    daemon.start()
    assert [] == daemon.cli("ports", json=True)
    driver.begin()
    driver.ask("show", "guest")
    wait_for(
        lambda: both == {port["mac"] for port in daemon.ask("/v1/ports")},
        20,
        "the driver to reclaim its ports",
    )
    again = {port["mac"]: port for port in daemon.cli("ports", json=True)}
    assert {port["mac"]: (port["uuid"], port["device"]) for port in before} == {
        mac: (port["uuid"], port["device"]) for mac, port in again.items()
    }
    assert "single" == again["52:54:00:00:00:01"]["group"]

    driver.ask("end")
    assert [] == daemon.cli("ports", json=True)
    driver.end()


def shares(host: Host) -> dict[str, str]:
    """Return the rate of the bridge's classes by their numbers, as tc prints it."""
    listing = host.run(["tc", "class", "show", "dev", "red0"]).stdout
    return dict(re.findall(r"htb 4a46:(\d+) .*rate (\S+) ceil", listing))


def test_what_a_guest_is_promised(host: Host, daemon: Daemon) -> None:
    """A guest's floor is a class of our bridge, changed while it runs, and gone with it."""
    shaped = "<bandwidth><inbound average='1000'/></bandwidth>"
    document = RED.replace("<ip ", f"{shaped}<ip ", 1)
    daemon.cli("apply", daemon.document(document))
    driver = Driver(host)
    mac = "52:54:00:00:00:01"
    model = "<model type='virtio'/>"
    promised = f"{model}<bandwidth><inbound floor='250'/></bandwidth>"
    text = domain("guest", mac, "network='red'").replace(model, promised)
    driver.ask("start", driver.document("guest", text))
    assert {"1": "8192Kbit", "2": "6144Kbit", "3": "2048Kbit"} == shares(host)
    daemon.restart()
    driver.ask("limit", "guest", mac, "inbound.floor=500")
    assert {"1": "8192Kbit", "2": "4096Kbit", "3": "4096Kbit"} == shares(host)
    refusal = driver.refusal("limit", "guest", mac, "inbound.floor=1001")
    assert "cannot guarantee floor='1001': 0 of its 1000 KiB/s are promised already" in refusal
    assert {"1": "8192Kbit", "2": "4096Kbit", "3": "4096Kbit"} == shares(host)
    driver.ask("end")
    assert {"1": "8192Kbit", "2": "8192Kbit"} == shares(host)
    assert [] == daemon.cli("ports", json=True)
    driver.end()
