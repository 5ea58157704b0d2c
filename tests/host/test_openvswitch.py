"""Drivers of Open vSwitch; ovs-vsctl, ``ip -j``, ``nft -j`` and packets are the witnesses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from jackfield.errors import ForeignObject, HostError, MissingFeature, WrongState
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.openvswitch.bridge import OvsBridgeDriver
from jackfield.host.openvswitch.database import Database
from jackfield.host.openvswitch.port import OvsPortDriver
from jackfield.host.openvswitch.sweep import sweep
from jackfield.model.bandwidth import Rate
from jackfield.model.values import InterfaceName
from jackfield.state.links import OwnerKind, alias_of
from jackfield.state.openvswitch import OvsBridge, OvsPort, OvsVlan
from jackfield.state.resources import Resource
from tests.lab.namespace import NetworkNamespace
from tests.lab.openvswitch import OpenVSwitch

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("open_vswitch")]

ALIAS = alias_of(OwnerKind.PORT, UUID(int=1))
NETWORK = alias_of(OwnerKind.NETWORK, UUID(int=2))
PORT = OvsPort(
    link=InterfaceName("v0"),
    bridge=InterfaceName("br0"),
    alias=ALIAS,
    identity=(
        ("attached-mac", "52:54:00:00:00:01"),
        ("iface-id", "e1c2"),
        ("iface-status", "active"),
        ("ifname", "v0"),
    ),
)


@pytest.fixture
def switch(here: NetworkNamespace, tmp_path: Path) -> Iterator[OpenVSwitch]:
    """Give an Open vSwitch with the bridge br0 of somebody else, and a veth pair v0, v1."""
    with OpenVSwitch(here, tmp_path / "ovs") as running:
        running.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
        here.ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
        yield running


@pytest.fixture
def database(switch: OpenVSwitch) -> Database:
    """Give the database as the daemon with the state ``mine`` sees it."""
    return Database(switch.socket, state="mine")


def ours(resource: Resource) -> dict[str, Observed]:
    """Return what observing exactly ``resource`` gives."""
    return {resource.key: Observed(presence=Presence.OURS, resource=resource)}


def guards(here: NetworkNamespace) -> dict[str, str]:
    """Return the devices that are kept from the host's stack, with what happens to frames."""
    return {
        item["chain"]["name"]: item["chain"]["policy"]
        for item in here.nft()
        if "chain" in item and item["chain"]["family"] == "netdev"
    }


def test_a_ports_life(
    kernel: Kernel, here: NetworkNamespace, switch: OpenVSwitch, database: Database
) -> None:
    """A port is made whole, found as it was wanted, made again, and removed without a trace."""
    driver = OvsPortDriver(database)
    assert {PORT.key: ABSENT} == driver.observe(kernel, [PORT])
    driver.ensure(kernel, [PORT], {})
    assert ours(PORT) == driver.observe(kernel, [PORT])
    assert {"v0"} == switch.ports("br0")
    row = switch.row("Interface", "v0")
    assert row is not None
    assert {
        **dict(PORT.identity),
        "jackfield": f"port:{UUID(int=1)}",
        "jackfield-state": "mine",
    } == row["external_ids"]
    assert row["ofport"] > 0
    assert [] == row["error"]
    assert "UP" in here.ip("link", "show", "v0")[0]["flags"]
    assert {"v0": "drop"} == guards(here)
    driver.ensure(kernel, [PORT], {})
    driver.ensure(kernel, [PORT], {PORT.key: PORT})
    assert ours(PORT) == driver.observe(kernel, [PORT])
    driver.remove(kernel, [PORT])
    assert {PORT.key: ABSENT} == driver.observe(kernel, [PORT])
    assert set() == switch.ports("br0")
    assert [] == here.nft()[1:]
    driver.remove(kernel, [PORT])


@pytest.mark.parametrize(
    "vlan",
    [
        OvsVlan(mode="access", tag=42),
        OvsVlan(mode="trunk", trunks=(42, 43)),
        OvsVlan(mode="native-tagged", tag=42, trunks=(42, 43)),
        OvsVlan(mode="native-untagged", tag=42, trunks=(42, 43)),
    ],
)
def test_vlans(kernel: Kernel, switch: OpenVSwitch, database: Database, vlan: OvsVlan) -> None:
    """Every mode is written as the table Port spells it, changed in place, and taken away."""
    driver = OvsPortDriver(database)
    tagged = dataclasses.replace(PORT, vlan=vlan)
    driver.ensure(kernel, [PORT], {})
    before = switch.row("Port", "v0")
    driver.ensure(kernel, [tagged], {PORT.key: PORT})
    assert ours(tagged) == driver.observe(kernel, [tagged])
    row = switch.row("Port", "v0")
    assert row is not None
    assert before is not None
    assert before["_uuid"] == row["_uuid"]
    trunks = row["trunks"] if isinstance(row["trunks"], list) else [row["trunks"]]
    assert (vlan.mode, vlan.tag if vlan.tag else [], list(vlan.trunks)) == (
        row["vlan_mode"],
        row["tag"],
        trunks,
    )
    driver.ensure(kernel, [PORT], {PORT.key: tagged})
    assert ours(PORT) == driver.observe(kernel, [PORT])


def test_what_a_guest_may_get(
    kernel: Kernel, here: NetworkNamespace, switch: OpenVSwitch, database: Database
) -> None:
    """The rows are those that libvirt makes, ovs-vswitchd shapes the device, and all of it goes."""
    driver = OvsPortDriver(database)
    limited = dataclasses.replace(PORT, inbound=Rate(average=1000, peak=5000, burst=512))
    driver.ensure(kernel, [limited], {})
    assert ours(limited) == driver.observe(kernel, [limited])
    (qos,) = switch.rows("QoS")
    (queue,) = switch.rows("Queue")
    assert ("linux-htb", {"max-rate": "40960000"}) == (qos["type"], qos["other_config"])
    assert {"0": queue["_uuid"]} == {str(key): value for key, value in qos["queues"].items()}
    assert {"min-rate": "8192000", "max-rate": "40960000", "burst": "4194304"} == queue[
        "other_config"
    ]
    classes = here.run(["tc", "class", "show", "dev", "v0"]).stdout
    assert "rate 8192Kbit ceil 40960Kbit" in classes
    other = dataclasses.replace(PORT, inbound=Rate(average=2000))
    driver.ensure(kernel, [other], {PORT.key: limited})
    assert ours(other) == driver.observe(kernel, [other])
    assert "rate 16384Kbit ceil 16384Kbit" in here.run(["tc", "class", "show", "dev", "v0"]).stdout
    assert (1, 1) == (len(switch.rows("QoS")), len(switch.rows("Queue")))
    driver.remove(kernel, [other])
    assert ([], []) == (switch.rows("QoS"), switch.rows("Queue"))


def test_what_a_guest_sends_cannot_be_limited_in_user_space(
    kernel: Kernel, switch: OpenVSwitch, database: Database
) -> None:
    """The kernel polices what a packet socket has read before: refused, and nothing is made."""
    limited = dataclasses.replace(PORT, outbound=Rate(average=1000))
    with pytest.raises(MissingFeature, match="cannot limit what v0 sends: bridge br0"):
        OvsPortDriver(database).ensure(kernel, [limited], {})
    assert set() == switch.ports("br0")


def test_many_ports_at_once(
    kernel: Kernel, here: NetworkNamespace, switch: OpenVSwitch, database: Database
) -> None:
    """Sixty ports are one transaction each way, found by asking for the tables whole."""
    names = [f"w{number}" for number in range(60)]
    for name in names:
        here.ip("link", "add", name, "type", "veth", "peer", "name", f"{name}p")
    ports = [
        dataclasses.replace(
            PORT,
            link=InterfaceName(name),
            alias=alias_of(OwnerKind.PORT, UUID(int=100 + number)),
            vlan=OvsVlan(mode="access", tag=1 + number),
            inbound=Rate(average=1 + number) if number % 2 else None,
        )
        for number, name in enumerate(names)
    ]
    driver = OvsPortDriver(database)
    driver.ensure(kernel, ports, {})
    assert set(names) == switch.ports("br0")
    wanted = {key: value for port in ports for key, value in ours(port).items()}
    assert wanted == driver.observe(kernel, ports)
    assert set(names) == set(guards(here))
    driver.remove(kernel, ports)
    assert set() == switch.ports("br0")
    assert {} == guards(here)
    assert [] == switch.rows("QoS")


def test_the_name_can_be_used_again_at_once(
    kernel: Kernel, here: NetworkNamespace, switch: OpenVSwitch, database: Database
) -> None:
    """A port whose name the last one had gets its own device, not what is left of that."""
    driver = OvsPortDriver(database)
    for _ in range(5):
        driver.ensure(kernel, [PORT], {})
        driver.remove(kernel, [PORT])
        here.ip("link", "del", "v0")
        here.ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
    driver.ensure(kernel, [PORT], {})
    row = switch.row("Interface", "v0")
    assert row is not None
    assert here.ip("link", "show", "v0")[0]["ifindex"] == row["ifindex"]
    assert [] == row["error"]


def test_another_ones_port_is_foreign(
    kernel: Kernel, here: NetworkNamespace, switch: OpenVSwitch, database: Database
) -> None:
    """It is named, and stays what it is."""
    switch.vsctl("add-port", "br0", "v0", "tag=7")
    driver = OvsPortDriver(database)
    (seen,) = driver.observe(kernel, [PORT]).values()
    assert (Presence.FOREIGN, "port v0 of Open vSwitch bridge br0") == (
        seen.presence,
        seen.description,
    )
    with pytest.raises(ForeignObject, match="port v0 of Open vSwitch is not ours"):
        driver.ensure(kernel, [PORT], {})
    driver.remove(kernel, [PORT])
    row = switch.row("Port", "v0")
    assert row is not None
    assert (7, {}) == (row["tag"], row["external_ids"])
    assert {} == guards(here)


def test_what_is_missing_is_named(
    kernel: Kernel, here: NetworkNamespace, switch: OpenVSwitch, database: Database
) -> None:
    """A bridge that Open vSwitch lacks, and a device that the host lacks."""
    driver = OvsPortDriver(database)
    no_bridge = dataclasses.replace(PORT, bridge=InterfaceName("br9"))
    with pytest.raises(WrongState, match="Open vSwitch has no bridge br9") as raised:
        driver.ensure(kernel, [no_bridge], {})
    assert "ovs-vsctl add-br br9" in str(raised.value.hint)
    no_link = dataclasses.replace(PORT, link=InterfaceName("v9"))
    with pytest.raises(
        HostError, match=r"v9 does not work as a port of Open vSwitch bridge br0.*No such device"
    ):
        driver.ensure(kernel, [no_link], {})
    driver.remove(kernel, [no_link])
    assert set() == switch.ports("br0")


def test_without_open_vswitch(kernel: Kernel, tmp_path: Path) -> None:
    """The socket that is missing, or at which nobody listens, is named."""
    driver = OvsPortDriver(Database(tmp_path / "none.sock", state="mine"))
    with pytest.raises(
        MissingFeature, match=f"does not run on this host: there is no socket {tmp_path}/none.sock"
    ) as raised:
        driver.ensure(kernel, [PORT], {})
    assert "openvswitch_socket" in str(raised.value.hint)


def test_without_the_switch(
    kernel: Kernel, here: NetworkNamespace, switch: OpenVSwitch, database: Database
) -> None:
    """The database alone is not enough, and a removal does not wait for the switch."""
    driver = OvsPortDriver(database)
    switch.stop("ovs-vswitchd")
    with pytest.raises(WrongState, match="ovs-vswitchd has not done it in 5 s"):
        driver.ensure(kernel, [PORT], {})
    driver.remove(kernel, [PORT])
    switch.start_switch()
    assert set() == switch.ports("br0")
    driver.ensure(kernel, [PORT], {})
    assert ours(PORT) == driver.observe(kernel, [PORT])


def test_a_removal_while_open_vswitch_does_not_run(
    kernel: Kernel, switch: OpenVSwitch, database: Database
) -> None:
    """The row is removed as soon as there is somebody to remove it: before the next port."""
    driver = OvsPortDriver(database)
    driver.ensure(kernel, [PORT], {})
    switch.stop("ovsdb-server")
    driver.remove(kernel, [PORT])
    switch.start_database()
    assert "v0" in (switch.vsctl("list-ports", "br0") or "")
    other = dataclasses.replace(PORT, alias=alias_of(OwnerKind.PORT, UUID(int=9)))
    driver.ensure(kernel, [other], {})
    assert ours(other) == driver.observe(kernel, [other])


def test_a_bridges_life(
    kernel: Kernel, here: NetworkNamespace, switch: OpenVSwitch, database: Database
) -> None:
    """A bridge of ours has a datapath that works here, and is gone with its device."""
    driver = OvsBridgeDriver(database)
    bridge = OvsBridge(name=InterfaceName("br1"), alias=NETWORK, uplink=InterfaceName("v0"))
    assert {bridge.key: ABSENT} == driver.observe(kernel, [bridge])
    driver.ensure(kernel, [bridge], {})
    driver.ensure(kernel, [bridge], {})
    assert ours(bridge) == driver.observe(kernel, [bridge])
    row = switch.row("Bridge", "br1")
    assert row is not None
    assert row["datapath_id"]
    assert {"jackfield": f"network:{UUID(int=2)}", "jackfield-state": "mine"} == row["external_ids"]
    addresses = {link["ifname"]: link["address"] for link in here.ip("link", "show")}
    assert addresses["v0"] == addresses["br1"]
    driver.remove(kernel, [bridge])
    assert {bridge.key: ABSENT} == driver.observe(kernel, [bridge])
    assert "br1" not in here.links()
    foreign = dataclasses.replace(bridge, name=InterfaceName("br0"))
    (seen,) = driver.observe(kernel, [foreign]).values()
    assert "Open vSwitch bridge br0" == seen.description
    with pytest.raises(ForeignObject, match="br0 is in the way and is not ours"):
        driver.ensure(kernel, [foreign], {})
    driver.remove(kernel, [foreign])
    assert switch.row("Bridge", "br0") is not None
    link = dataclasses.replace(bridge, name=InterfaceName("v0"))
    (seen,) = driver.observe(kernel, [link]).values()
    assert Presence.FOREIGN is seen.presence
    assert "veth v0" in seen.description


def test_rows_of_nobody_are_swept(
    kernel: Kernel, here: NetworkNamespace, switch: OpenVSwitch, database: Database
) -> None:
    """What is known stays, and so does what belongs to others; what has no device goes as well."""
    others = Database(switch.socket, state="others")
    for name in ("v2", "v4", "v6"):
        here.ip("link", "add", name, "type", "veth", "peer", "name", f"{name}p")
    limited = dataclasses.replace(PORT, inbound=Rate(average=100))
    kept, theirs, gone = (
        dataclasses.replace(
            limited,
            link=InterfaceName(name),
            alias=alias_of(OwnerKind.PORT, UUID(int=number)),
        )
        for name, number in (("v2", 20), ("v4", 40), ("v6", 60))
    )
    driver = OvsPortDriver(database)
    driver.ensure(kernel, [limited, kept, gone], {})
    OvsPortDriver(others).ensure(kernel, [theirs], {})
    bridges = OvsBridgeDriver(database)
    bridges.ensure(kernel, [OvsBridge(name=InterfaceName("br1"), alias=NETWORK)], {})
    switch.vsctl("add-port", "br0", "v1")
    here.ip("link", "del", "v6")
    swept = sweep(database, kernel, {kept.alias, gone.alias})
    assert {"v0", "v6", "br1"} == set(swept)
    assert {"v1", "v2", "v4"} == switch.ports("br0")
    assert ["br0"] == (switch.vsctl("list-br") or "").split()
    assert 2 == len(switch.rows("QoS"))
    assert 2 == len(switch.rows("Queue"))
    assert [] == sweep(database, kernel, {kept.alias})
