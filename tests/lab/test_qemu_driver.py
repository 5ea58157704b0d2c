"""libvirt's own QEMU driver, unmodified, starts guests on networks of ours (virt-qemu-run)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import libvirtd
from tests.lab.daemon import Daemon
from tests.lab.host import Host, HostProcess
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
