"""A monolithic libvirtd, which asks nobody for networks, and its guests on networks of ours.

::

    host   virbr-red 10.0.0.1 ── vnet0 ── guest, by libvirt's QEMU driver
                              ── vnet1 ── another one
    libvirtd with networks of its own; what is called red is ours from the import on
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import libvirtd as stock
from tests.lab.daemon import Daemon
from tests.lab.host import Host
from tests.lab.test_qemu_driver import QEMU_CONF, domain
from tests.lab.wait import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.slow]

RED = """
<network>
  <name>red</name>
  <forward mode='nat'/>
  <bridge name='virbr-red' stp='off'/>
  <ip address='10.0.0.1' netmask='255.255.255.0'>
    <dhcp><range start='10.0.0.10' end='10.0.0.99'/></dhcp>
  </ip>
</network>
"""
DIRECT = "<network><name>direct</name><forward mode='bridge' dev='eth0'/></network>"
ADDRESSES = {"g1": "52:54:00:00:00:11", "g2": "52:54:00:00:00:12"}


class Libvirtd(stock.StockLibvirtd):
    """A whole libvirtd of this version: its network driver and its QEMU driver in one daemon."""

    uri = "qemu:///system"

    def __init__(self, host: Host) -> None:
        """Begin with two guests that are defined."""
        super().__init__(host)
        for name, mac in ADDRESSES.items():
            self.virsh("define", "/dev/stdin", input=domain(name, mac, "network='red'"))

    def _lay_over(self, writable: Path | None) -> None:
        assert writable is None
        stock.use_qemu(self.host)
        settings = self.host.file("/etc/libvirt")
        settings.mkdir(exist_ok=True)
        (settings / "qemu.conf").write_text(QEMU_CONF)

    def end(self) -> None:
        """End it with its guests."""
        if self.process.poll() is None:
            for name in self.virsh("list", "--name").split():
                self.virsh("destroy", name)
            self.stop()


@pytest.fixture
def libvirtd(host: Host) -> Iterator[Libvirtd]:
    """Give a libvirtd with a running network and a guest on it."""
    if (reason := stock.qemu_skip_reason()) is not None:
        pytest.skip(reason)
    daemon = Libvirtd(host)
    try:
        daemon.virsh("net-define", "/dev/stdin", input=RED)
        daemon.virsh("net-start", "red")
        daemon.virsh("net-autostart", "red")
        daemon.virsh("start", "g1")
        yield daemon
    finally:
        daemon.end()


def taps(host: Host) -> set[str]:
    """Return the addresses of the guests whose taps are on the bridge."""
    links = host.ip("link", "show", "master", "virbr-red")
    # A tap has its guest's address with another first octet.
    return {f"52{link['address'][2:]}" for link in links}


def test_guests_of_libvirtd_on_our_bridge(host: Host, libvirtd: Libvirtd) -> None:
    """Taken over, and lent: guests that run stay, others start, a restart brings all back."""
    with Daemon(host) as daemon:
        taken = daemon.cli("import")
        assert (
            "* red: guests of libvirtd can be started on it again after: "
            "jackfield export --as-bridge red"
        ) in taken.splitlines()
        bridge = host.link("virbr-red")
        assert bridge is not None
        assert bridge["ifalias"].startswith("jackfield:network:")
        wanted = daemon.cli("export", "--as-bridge", "--dry-run")
        assert "virbr-red" not in libvirtd.virsh("net-list")
        done = daemon.cli("export", "--as-bridge")
        assert [line[2:] for line in wanted.splitlines()] == [
            line[2:] for line in done.splitlines()
        ]
        (port,) = [line for line in done.splitlines() if "of g1 given up" in line]
        assert port.startswith("* red: port ")

        shown = libvirtd.virsh("net-dumpxml", "red")
        assert "<forward mode='bridge'/>" in shown
        assert "<bridge name='virbr-red'/>" in shown
        assert "<ip " not in shown
        assert "yes" in libvirtd.virsh("net-info", "red").partition("Autostart:")[2].split()[0]
        libvirtd.virsh("start", "g2")
        assert set(ADDRESSES.values()) == taps(host)

        assert "libvirt has everything already." in daemon.cli("export", "--as-bridge")
        assert "Nothing of libvirt's is to be taken over." in daemon.cli("import")

        # What they are plugged into is ours, and goes and comes with the network here.
        daemon.cli("stop", "red")
        assert host.link("virbr-red") is None
        daemon.cli("start", "red")
        assert set(ADDRESSES.values()) == taps(host)
        libvirtd.stop()
        libvirtd.start()
        # It finds its guests again in the background.
        wait_for(lambda: "g1" in libvirtd.virsh("list", "--name"), 30, "libvirtd to know g1")
        assert set(ADDRESSES.values()) == taps(host)
        libvirtd.virsh("destroy", "g1")
        assert {ADDRESSES["g2"]} == taps(host)
        assert [] == daemon.cli("ports", json=True)

        daemon.cli("export")
        libvirtd.virsh("net-destroy", "red")
        daemon.cli("stop", "red")
        daemon.cli("undefine", "red")
        libvirtd.virsh("net-start", "red")
    assert "<forward mode='nat'>" in libvirtd.virsh("net-dumpxml", "red")
    libvirtd.process.stop(60)
    libvirtd.start()
    wait_for(lambda: {ADDRESSES["g2"]} == taps(host), 30, "libvirt's own bridge to have g2's tap")


def test_what_is_not_lent(host: Host, libvirtd: Libvirtd) -> None:
    """A network that libvirt runs as its own, and one without a bridge, are left and named."""
    host.run(["ip", "link", "add", "eth0", "type", "veth", "peer", "eth9"])
    with Daemon(host) as daemon:
        daemon.cli("define", daemon.document(DIRECT))
        daemon.cli("import", "--dry-run")
        uuid = libvirtd.virsh("net-uuid", "red")
        ours = RED.replace("<name>red</name>", f"<name>red</name><uuid>{uuid}</uuid>")
        daemon.cli("define", daemon.document(ours))
        for arguments in (("--dry-run",), ()):
            said = daemon.cli("export", "--as-bridge", *arguments, check=False)
            assert 5 == said.returncode
            direct, red = said.stdout.splitlines()
            assert direct.startswith("! direct: its guests are not plugged into one bridge")
            assert red.startswith("! red: libvirt runs it as its own")
    assert "<forward mode='nat'>" in libvirtd.virsh("net-dumpxml", "red")
    assert "direct" not in libvirtd.virsh("net-list", "--all")
