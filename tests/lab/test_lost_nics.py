"""NICs that go away and come back, and the devices of the ports that were right on them.

::

    a (namespace) ── macvlan ─┐
    t0 ───────────── macvtap ─┴─ eth1 of the host ── LAN ── outside
"""

from __future__ import annotations

import pytest

from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.guest import Guest
from tests.lab.host import Host
from tests.lab.packets import ping
from tests.lab.switch import Lan, add_address
from tests.lab.troubles import problem, problems, told
from tests.lab.wait import wait_for
from tests.rpc.client import RawClient

pytestmark = pytest.mark.lab

OUTSIDE = "192.0.2.1"
RED = """
<network><name>red</name><forward mode='{}'><interface dev='eth1'/></forward></network>
"""
PORT = """
<networkport>
  <uuid>00000000-0000-0000-0000-000000000001</uuid>
  <owner><name>vm</name><uuid>00000000-0000-0000-0000-000000000002</uuid></owner>
  <mac address='52:54:00:7b:35:93'/>
</networkport>
"""


def plug_in(daemon: Daemon, host: Host, name: str = "a") -> Guest:
    """Plug in a guest."""
    guest = host.guest(name)
    guest.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1")
    daemon.cli("attach", "red", "--netns", name, "--ifname", "eth0")
    return guest


def number_of(host: Host, link: str) -> str:
    """Return the device number of a macvtap, as sysfs has it."""
    return host.run(["sh", "-c", f"cat /sys/class/net/{link}/macvtap/tap*/dev"]).stdout.strip()


def test_what_went_with_a_nic_comes_back_with_it(
    host: Host, lan: Lan, outside: Host, daemon: Daemon
) -> None:
    """The network and its ports say what they lack, and have it again with the NIC."""
    assert outside.name == "outside"
    cable = lan.plug(host, "eth1")
    daemon.cli("apply", daemon.document(RED.format("bridge")))
    a = plug_in(daemon, host)
    mac = a.mac()
    port = daemon.cli("attach", "red", "--tap", "t0", "--owner", "65534", json=True)
    assert {"a": None, "t0": None} == problems(daemon)
    assert {"steps": []} == daemon.cli("plan", "red", json=True)

    lan.unplug(cable)
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    assert "eth1" in problem(daemon)
    assert all("eth1" in (text or "") for text in problems(daemon).values())
    assert "t0: its device went with NIC eth1" in daemon.cli("ports")
    planned = daemon.cli("plan", "red", json=True)
    assert {"macvlan", "macvtap"} == {step["kind"] for step in planned["steps"]}
    assert ["network-problem"] == [event["type"] for event in told(daemon)]

    lan.plug(host, "eth1")
    wait_for(lambda: not problem(daemon), 10, "the network to be well again")
    assert mac == a.mac()
    add_address(a, "eth0", "192.0.2.21/24")
    assert ping(a, OUTSIDE, tries=5) is not None
    node = host.file(port["node"]).stat()
    assert (0o600, 65534) == (node.st_mode & 0o777, node.st_uid)
    seen = host.run(["stat", "-c", "%Hr:%Lr", port["node"]]).stdout.strip()
    assert number_of(host, "t0") == seen
    assert {"steps": []} == daemon.cli("plan", "red", json=True)
    # Who had the tap open has a dead one, which nobody can change.
    assert problems(daemon)["a"] is None
    assert "open it again" in (problems(daemon)["t0"] or "")
    (_, repaired) = told(daemon)
    assert "network-repaired" == repaired["type"]
    assert "eth1" in repaired["detail"]["reason"]
    assert "t0" in repaired["detail"]["reason"]

    daemon.cli("detach", "t0")
    daemon.cli("detach", "a")
    assert {"lo", "eth1"} == host.links()


def test_a_nic_that_is_away_while_there_is_no_daemon(
    host: Host, lan: Lan, outside: Host, daemon: Daemon
) -> None:
    """A daemon that starts without the NIC says so; ports go and networks start as ever."""
    assert outside.name == "outside"
    cable = lan.plug(host, "eth1")
    daemon.cli("apply", daemon.document(RED.format("passthrough")))
    a = plug_in(daemon, host)
    daemon.terminate()
    lan.unplug(cable)
    daemon.start()
    assert "eth1" in problem(daemon)
    assert "eth1" in (problems(daemon)["a"] or "")
    # By another name first, as udev has it.
    lan.plug(host, "new0")
    host.run(["ip", "link", "set", "new0", "down"])
    host.run(["ip", "link", "set", "new0", "name", "eth1"])
    wait_for(lambda: not problem(daemon), 10, "the network to be well again")
    add_address(a, "eth0", "192.0.2.21/24")
    wait_for(lambda: ping(a, OUTSIDE) is not None, 5, "the uplink's carrier")
    assert {"a": None} == problems(daemon)

    host.run(["ip", "link", "del", "eth1"])
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    daemon.cli("stop", "red")
    daemon.cli("start", "red")
    assert "eth1" in problem(daemon)
    daemon.cli("detach", "a")
    assert "" == problem(daemon)
    assert [] == daemon.cli("ports", json=True)


def test_a_nic_that_is_another_one_at_once(
    host: Host, lan: Lan, outside: Host, daemon: Daemon
) -> None:
    """By the time that somebody looks the NIC is there; the devices are not, and come back."""
    assert outside.name == "outside"
    lan.plug(host, "eth1")
    lan.plug(host, "new0")
    host.run(["ip", "link", "set", "new0", "down"])
    daemon.cli("apply", daemon.document(RED.format("bridge")))
    a = plug_in(daemon, host)
    daemon.cli("attach", "red", "--tap", "t0")
    host.run(["ip", "-batch", "-"], input="link del eth1\nlink set new0 name eth1\n")
    wait_for(lambda: "t0" in host.links() and "eth0" in a.links(), 10, "the devices")
    add_address(a, "eth0", "192.0.2.21/24")
    wait_for(lambda: ping(a, OUTSIDE) is not None, 5, "the uplink's carrier")
    wait_for(lambda: "open it again" in (problems(daemon)["t0"] or ""), 5, "the port to say so")
    wait_for(lambda: not problem(daemon), 5, "the network to be well again")


def rename(host: Host, old: str, new: str) -> None:
    """Give a NIC another name, as udev does."""
    lines = [f"link set {old} down", f"link set {old} name {new}", f"link set {new} up"]
    host.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n")


def index_of(host: Host, link: str) -> int:
    """Return a link's index."""
    (found,) = host.ip("link", "show", "dev", link)
    return int(found["ifindex"])


def test_a_nic_that_gets_another_name(host: Host, lan: Lan, outside: Host, daemon: Daemon) -> None:
    """Its guests go on, over a restart of the daemon too, whoever has the name by then."""
    assert outside.name == "outside"
    lan.plug(host, "eth1")
    lan.plug(host, "eth2", mac="02:00:00:00:00:02")
    daemon.cli("apply", daemon.document(RED.format("bridge")))
    a = plug_in(daemon, host)
    add_address(a, "eth0", "192.0.2.21/24")
    daemon.cli("attach", "red", "--tap", "t0")
    with RawClient(host.file(RUN_DIR) / "libvirt-sock") as client:
        client.open()
        client.call("port_create", client.lookup("red"), PORT, 0)
    host.run(
        [
            *("ip", "link", "add", "macvtap0", "link", "eth1"),
            *("address", "52:54:00:7b:35:93", "type", "macvtap", "mode", "bridge"),
        ]
    )
    before, node = index_of(host, "t0"), number_of(host, "t0")

    rename(host, "eth1", "old0")
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    assert {"a", "t0", "vm"} == {
        name for name, text in problems(daemon).items() if "not called eth1" in (text or "")
    }
    daemon.restart()
    assert "eth1" in problem(daemon)
    rename(host, "eth2", "eth1")
    daemon.kill9()
    daemon.start()
    assert "eth1" in problem(daemon)
    assert (before, node) == (index_of(host, "t0"), number_of(host, "t0"))
    assert ping(a, OUTSIDE, tries=5) is not None
    (tap,) = host.ip("link", "show", "dev", "t0")
    assert "UP" in tap["flags"]
    assert "old0" == tap["link"]

    rename(host, "eth1", "eth2")
    rename(host, "old0", "eth1")
    wait_for(lambda: not problem(daemon), 10, "the network to be well again")
    assert {"a": None, "t0": None, "vm": None} == problems(daemon)
    assert before == index_of(host, "t0")


def test_an_address_goes_back_to_the_nic_it_is_of(
    host: Host, lan: Lan, outside: Host, daemon: Daemon
) -> None:
    """Another NIC that has got the name of one keeps its own, whatever became of that one."""
    assert outside.name == "outside"
    lan.plug(host, "eth1", mac="02:00:00:00:00:01")
    cable = lan.plug(host, "eth2", mac="02:00:00:00:00:02")
    daemon.cli("apply", daemon.document(RED.format("passthrough")))
    a = plug_in(daemon, host)
    assert a.mac() == host.mac("eth1")
    rename(host, "eth1", "old0")
    rename(host, "eth2", "eth1")
    daemon.restart()
    assert [a.mac(), "02:00:00:00:00:02"] == [host.mac("old0"), host.mac("eth1")]
    daemon.cli("detach", "a")
    assert "02:00:00:00:00:01" == host.mac("old0")
    assert "02:00:00:00:00:02" == host.mac("eth1")

    daemon.cli("attach", "red", "--netns", "a", "--ifname", "eth0")
    lan.unplug(cable)
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    cable = lan.plug(host, "eth1", mac="02:00:00:00:00:03")
    wait_for(lambda: not problem(daemon), 10, "the network to be well again")
    assert a.mac() == host.mac("eth1")
    daemon.terminate()
    lan.unplug(cable)
    lan.plug(host, "eth1", mac="02:00:00:00:00:04")
    daemon.start()
    assert a.mac() == host.mac("eth1")
    daemon.cli("detach", "a")
    assert "02:00:00:00:00:04" == host.mac("eth1")


def test_what_is_in_the_way_of_a_lost_device(host: Host, lan: Lan, daemon: Daemon) -> None:
    """A device whose name somebody has taken is made when it is free again, and applied."""
    cable = lan.plug(host, "eth1")
    daemon.cli("apply", daemon.document(RED.format("vepa")))
    daemon.cli("attach", "red", "--tap", "t0")
    lan.unplug(cable)
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    host.run(["ip", "link", "add", "t0", "type", "bridge"])
    lan.plug(host, "eth1")
    wait_for(lambda: "in the way" in (problems(daemon)["t0"] or ""), 10, "the port to say so")
    assert "eth1" in problem(daemon)
    (link,) = host.ip("-d", "link", "show", "dev", "t0")
    assert "bridge" == link["linkinfo"]["info_kind"]
    host.run(["ip", "link", "del", "t0"])
    daemon.cli("apply", "red")
    assert "" == problem(daemon)
    (link,) = host.ip("-d", "link", "show", "dev", "t0")
    assert "macvtap" == link["linkinfo"]["info_kind"]


def test_a_device_that_is_its_clients_to_make(
    host: Host, lan: Lan, outside: Host, daemon: Daemon
) -> None:
    """Of a port of libvirt's it is said that libvirt has to make its device, until it has."""
    assert outside.name == "outside"
    cable = lan.plug(host, "eth1")
    daemon.cli("apply", daemon.document(RED.format("private")))
    with RawClient(host.file(RUN_DIR) / "libvirt-sock") as client:
        client.open()
        client.call("port_create", client.lookup("red"), PORT, 0)
    tap = (
        *("ip", "link", "add", "macvtap0", "link", "eth1"),
        *("address", "52:54:00:7b:35:93", "type", "macvtap", "mode", "private"),
    )
    host.run(tap)
    assert {"vm": None} == problems(daemon)
    lan.unplug(cable)
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    lan.plug(host, "eth1")
    wait_for(lambda: not problem(daemon), 10, "the network to be well again")
    assert "made it" in (problems(daemon)["vm"] or "")
    # What keeps private guests apart is there before the guest is.
    rules = host.run(["nft", "list", "table", "netdev", "jackfield-private"]).stdout
    assert 'device "eth1"' in rules
    host.run(tap)
    wait_for(lambda: {"vm": None} == problems(daemon), 5, "the port to have its device")


def test_a_nic_that_somebody_sets_down(host: Host, lan: Lan, outside: Host, daemon: Daemon) -> None:
    """Its network says so, until somebody sets it up or applies it; not when its ports went."""
    assert outside.name == "outside"
    lan.plug(host, "eth1")
    host.run(["ip", "link", "set", "eth1", "down"])
    daemon.cli("apply", daemon.document(RED.format("bridge")))
    a = plug_in(daemon, host)
    add_address(a, "eth0", "192.0.2.21/24")
    assert ping(a, OUTSIDE, tries=5) is not None

    host.run(["ip", "link", "set", "eth1", "down"])
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    said = "NIC eth1 is not up, with 1 port on it; set it up with: jackfield apply red"
    assert said == problem(daemon)
    host.run(["ip", "link", "set", "eth1", "up"])
    wait_for(lambda: not problem(daemon), 10, "the network to be well again")
    host.run(["ip", "link", "set", "eth1", "down"])
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    assert "~ state of eth1 = up" in daemon.cli("plan", "red")
    assert "~ state of eth1 = up" in daemon.cli("apply", "red")
    assert "" == problem(daemon)
    wait_for(lambda: ping(a, OUTSIDE) is not None, 5, "the NIC's carrier")
    assert {"steps": []} == daemon.cli("plan", "red", json=True)

    daemon.cli("detach", "a")
    (nic,) = host.ip("link", "show", "dev", "eth1")
    assert "UP" not in nic["flags"]
    # The daemon has heard of it by the time that it has heard of what came after it.
    host.run(["ip", "link", "set", "eth1", "up"])
    plug_in(daemon, host, "b")
    assert 3 == len(told(daemon))


def test_a_macvtap_that_lost_its_node(host: Host, lan: Lan, daemon: Daemon) -> None:
    """A device node that somebody removes, and a macvtap that is set down, come back applied."""
    lan.plug(host, "eth1")
    daemon.cli("apply", daemon.document(RED.format("private")))
    port = daemon.cli("attach", "red", "--tap", "t0", "--owner", "65534", json=True)
    host.run(["rm", port["node"]])
    host.run(["ip", "link", "set", "t0", "down"])
    planned = daemon.cli("plan", "red", json=True)["steps"]
    assert {"tap-node", "up"} == {step["kind"] for step in planned}
    done = daemon.cli("apply", "red", json=True)["steps"]
    assert {"tap-node", "up"} == {step["kind"] for step in done}
    node = host.file(port["node"]).stat()
    assert (0o600, 65534) == (node.st_mode & 0o777, node.st_uid)
    (link,) = host.ip("link", "show", "dev", "t0")
    assert "UP" in link["flags"]
    assert {"steps": []} == daemon.cli("plan", "red", json=True)


def test_nics_that_change_names_with_each_other(
    host: Host, lan: Lan, outside: Host, daemon: Daemon
) -> None:
    """Neither gets the address that the other's guest has, whoever is asked to apply it."""
    assert outside.name == "outside"
    lan.plug(host, "eth1")
    lan.plug(host, "eth2")
    own = {name: host.mac(name) for name in ("eth1", "eth2")}
    two = RED.format("passthrough").replace("</forward>", "<interface dev='eth2'/></forward>")
    daemon.cli("apply", daemon.document(two))
    a, b = plug_in(daemon, host), plug_in(daemon, host, "b")
    daemon.terminate()
    for old, new in ("eth1", "lan0"), ("eth2", "eth1"), ("lan0", "eth2"):
        host.run(["ip", "link", "set", old, "down"])
        host.run(["ip", "link", "set", old, "name", new])
        host.run(["ip", "link", "set", new, "up"])
    daemon.start()
    assert "NIC eth1, eth2 has another name now" in problem(daemon)
    assert {"steps": []} == daemon.cli("plan", "red", json=True)
    assert "has another name now" in daemon.cli("apply", "red")
    assert {a.mac(), b.mac()} == {host.mac("eth1"), host.mac("eth2")}
    for guest, address in (a, "192.0.2.21"), (b, "192.0.2.22"):
        add_address(guest, "eth0", f"{address}/24")
        assert ping(guest, OUTSIDE, tries=5) is not None
    daemon.cli("detach", "--network", "red")
    assert own == {"eth1": host.mac("eth2"), "eth2": host.mac("eth1")}
