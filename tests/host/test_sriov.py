"""Virtual functions as a folder shows them that is made like sysfs."""

from __future__ import annotations

from pathlib import Path

import pytest

from jackfield.host.sriov import facts, pci
from jackfield.model.uplink import PciAddress
from jackfield.model.values import InterfaceName
from jackfield.state.facts import Facts, LinkFact, VirtualFunctionFact

CARD = PciAddress.of(bus=1)
FUNCTIONS = [PciAddress.of(bus=1, slot=16, function=number) for number in (0, 2, 4)]


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """Give a card ``eth0`` with three functions: one here, one a guest's, one without driver."""
    folder = tmp_path / "devices"
    card = folder / str(CARD)
    (card / "net/eth0").mkdir(parents=True)
    (card / "sriov_totalvfs").write_text("7\n")
    # Another card, without functions, and a device that is no NIC.
    (folder / "0000:02:00.0/net/eth7").mkdir(parents=True)
    (folder / "0000:02:00.0/sriov_totalvfs").write_text("4\n")
    (folder / "0000:00:1f.0").mkdir()
    # In the order of names the tenth comes before the second.
    for number, address in zip((0, 2, 10), FUNCTIONS, strict=True):
        function = folder / str(address)
        function.mkdir()
        (function / "physfn").symlink_to(f"../{CARD}")
        (card / f"virtfn{number}").symlink_to(f"../{address}")
    here, given, _ = (folder / str(address) for address in FUNCTIONS)
    (here / "net/eth1").mkdir(parents=True)
    (here / "driver").symlink_to("../../../bus/pci/drivers/igbvf")
    (here / "driver_override").write_text("(null)\n")
    (given / "driver").symlink_to("../../../bus/pci/drivers/vfio-pci")
    (given / "driver_override").write_text("vfio-pci\n")
    return folder


def test_all_functions(devices: Path) -> None:
    """They are told by their card's link, in the order of their numbers."""
    here, given, free = FUNCTIONS
    assert {
        "eth0": (
            VirtualFunctionFact(address=here, dev=InterfaceName("eth1"), driver="igbvf"),
            VirtualFunctionFact(address=given, driver="vfio-pci"),
            VirtualFunctionFact(address=free),
        ),
        "eth7": (),
    } == pci.read_functions(devices)
    assert tuple(FUNCTIONS) == pci.virtual_functions(InterfaceName("eth0"), devices)


def test_one_function(devices: Path) -> None:
    """Its card, number, interface, driver, and the only one it may have."""
    here, given, free = FUNCTIONS
    assert pci.Physical(InterfaceName("eth0"), 10) == pci.physical_of(free, devices)
    assert pci.physical_of(CARD, devices) is None
    assert pci.physical_of(PciAddress.of(bus=9), devices) is None
    assert ["eth1", None] == [pci.interface_of(one, devices) for one in (here, given)]
    assert ["igbvf", "vfio-pci", ""] == [pci.driver_of(one, devices) for one in FUNCTIONS]
    assert ["", "vfio-pci", ""] == [pci.override_of(one, devices) for one in FUNCTIONS]


def test_a_link_that_is_no_card(devices: Path) -> None:
    """It can have no functions; nor is there anything on a host without PCI."""
    assert 7 == pci.read_total(InterfaceName("eth0"), devices)
    assert pci.read_total(InterfaceName("eth1"), devices) is None
    assert () == pci.virtual_functions(InterfaceName("lo"), devices)
    assert {} == pci.read_functions(devices / "nowhere")


def test_what_is_below_a_bridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All devices are gone through only where a function may be found."""
    (tmp_path / "eth1/device/physfn").mkdir(parents=True)
    (tmp_path / "eth7/device").mkdir(parents=True)
    assert [True, False] == [pci.is_function(name, tmp_path) for name in ("eth1", "eth7")]
    looked = Facts(ipv6=False)
    monkeypatch.setattr(facts, "is_function", lambda name: pci.is_function(name, tmp_path))
    monkeypatch.setattr(facts, "with_functions", lambda _: looked)
    members = {"eth1": "", "eth7": "", "tap0": "tun", "eth7.5": "vlan"}
    for name, kind in members.items():
        member = LinkFact(name=name, index=3, kind=kind, master=2)
        found = Facts(links={"br0": LinkFact(name="br0", index=2), name: member})
        expected = looked if name in ("eth1", "eth7.5") else found
        assert expected is facts.with_functions_below(found, ["br0", "br1"])
