"""Mode private: guests never reach each other, whatever the switch does and whatever they know.

::

    a, b (guests) ── macvlans ── eth1, eth2 of the host (192.0.2.10)
                                   │     │
                    outside ────── LAN (a switch whose ports reflect: hairpin)

All of them have each other's addresses as static neighbours: nobody needs a broadcast.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

import pytest

from jackfield.client import Client
from jackfield.rpc.procedures import PortRef
from tests.lab.crash import CrashingDaemon, Operation, crash_everywhere, crash_twice
from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.guest import Guest
from tests.lab.host import Host
from tests.lab.packets import ping
from tests.lab.switch import Lan, add_address
from tests.lab.wait import wait_for
from tests.rpc.client import RawClient

pytestmark = pytest.mark.lab

OUTSIDE = "192.0.2.1"
HOST = "192.0.2.10"
GUESTS = {"a": "192.0.2.21", "b": "192.0.2.22"}
MAC = "52:54:00:aa:bb:01"
PORT = UUID(int=0x4D)
ONE_NIC, TWO_NICS = ("eth1",), ("eth1", "eth2")
TABLE = "jackfield-private"


@pytest.fixture
def uplinks(host: Host, lan: Lan, outside: Host) -> dict[str, str]:
    """Plug two NICs into the LAN, which reflects; return the switch's ports by their names."""
    assert outside.name == "outside"
    return {name: plug_uplink(host, lan, name) for name in TWO_NICS}


def plug_uplink(host: Host, lan: Lan, name: str) -> str:
    """Plug one NIC into the LAN, which reflects; return the switch's port."""
    port = lan.plug(host, name)
    host.set_sysctl(f"net/ipv6/conf/{name}/disable_ipv6", "1")
    lan.namespace.run(["bridge", "link", "set", "dev", port, "hairpin", "on"])
    return port


def document(mode: str, *uplinks: str) -> str:
    """Return a network over these uplinks."""
    pool = "".join(f"<interface dev='{name}'/>" for name in uplinks)
    return f"<network><name>red</name><forward mode='{mode}'>{pool}</forward></network>"


def begin(daemon: Daemon, mode: str, *uplinks: str) -> None:
    """Define and start a network."""
    daemon.cli("apply", daemon.document(document(mode, *uplinks)))


def make_guest(host: Host, name: str) -> Guest:
    """Make a guest without IPv6."""
    guest = host.guest(name)
    guest.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1")
    return guest


def plug_in(daemon: Daemon, host: Host, name: str) -> Guest:
    """Make a guest in a namespace, with an address."""
    guest = make_guest(host, name)
    daemon.cli("attach", "red", "--netns", name, "--ifname", "eth0")
    add_address(guest, "eth0", f"{GUESTS[name]}/24")
    return guest


def acquaint(guests: Mapping[str, Guest]) -> None:
    """Have the guests know each other's addresses for ever."""
    for one, other in itertools.permutations(guests, 2):
        known = (GUESTS[other], "lladdr", guests[other].mac(), "dev", "eth0", "nud", "permanent")
        guests[one].run(["ip", "neigh", "replace", *known])


def reaches(one: Guest | Host, address: str) -> bool:
    """Tell whether one of three pings is answered."""
    return ping(one, address, timeout=0.4, tries=3) is not None


def comes_to_reach(one: Guest | Host, address: str) -> bool:
    """Wait for a ping to be answered: on a busy machine neighbours take a while to be known."""
    return ping(one, address, timeout=0.4, tries=50) is not None


def guarded(host: Host) -> dict[str, tuple[list[str], int]]:
    """Return the guests that are not heard by others, by uplink, and what has been dropped."""
    items = [item for item in host.nft() if TABLE == next(iter(item.values())).get("table")]
    guests: dict[str, list[str]] = {
        item["set"]["name"]: [one["elem"]["val"] for one in item["set"].get("elem", [])]
        for item in items
        if "set" in item
    }
    found = {item["chain"]["name"]: (list[str](), 0) for item in items if "chain" in item}
    for item in items:
        if "rule" in item:
            rule = item["rule"]
            name = rule["expr"][0]["match"]["right"].removeprefix("@")
            found[rule["chain"]] = (sorted(guests[name]), rule["expr"][2]["counter"]["packets"])
    return found


@pytest.mark.shows("private", "guests in namespaces that know each other, behind a hairpin switch")
@pytest.mark.parametrize("pool", [ONE_NIC, TWO_NICS], ids=["one NIC", "two NICs"])
def test_private_guests_never_reach_each_other(
    host: Host, outside: Host, daemon: Daemon, uplinks: dict[str, str], pool: tuple[str, ...]
) -> None:
    """Neither over one NIC nor from one to another; the LAN and the host are reached."""
    add_address(host, "eth1", f"{HOST}/24")
    begin(daemon, "private", *pool)
    guests = {name: plug_in(daemon, host, name) for name in GUESTS}
    acquaint(guests)
    macs = sorted(guest.mac() for guest in guests.values())

    assert dict.fromkeys(pool, (macs, 0)) == guarded(host)
    assert not reaches(guests["a"], GUESTS["b"])
    assert not reaches(guests["b"], GUESTS["a"])
    # They did arrive: it is not the switch that kept them.
    assert all(dropped >= 3 for _, dropped in guarded(host).values())
    for name, guest in guests.items():
        assert comes_to_reach(guest, OUTSIDE)
        assert comes_to_reach(outside, GUESTS[name])
    # Who hears the host's own question, answers.
    assert comes_to_reach(host, GUESTS["a"])

    host.run(["nft", "flush", "ruleset"])
    wait_for(lambda: macs == guarded(host).get("eth1", ([], 0))[0], 5, "the guests to be guarded")
    assert not reaches(guests["a"], GUESTS["b"])
    assert not reaches(guests["b"], GUESTS["a"])
    daemon.restart()
    assert dict.fromkeys(pool, macs) == {key: one for key, (one, _) in guarded(host).items()}

    daemon.cli("detach", "a")
    assert {pool[-1]: [guests["b"].mac()]} == {key: one for key, (one, _) in guarded(host).items()}
    daemon.cli("detach", "b")
    assert [] == host.tables()


@pytest.mark.shows("vepa", "guests in namespaces that know each other, behind a hairpin switch")
@pytest.mark.parametrize("pool", [ONE_NIC, TWO_NICS], ids=["one NIC", "two NICs"])
def test_vepa_guests_reach_each_other(
    host: Host, daemon: Daemon, uplinks: dict[str, str], pool: tuple[str, ...]
) -> None:
    """It is the same switch, and nothing is in the way."""
    begin(daemon, "vepa", *pool)
    guests = {name: plug_in(daemon, host, name) for name in GUESTS}
    acquaint(guests)
    assert comes_to_reach(guests["a"], GUESTS["b"])
    assert comes_to_reach(guests["b"], GUESTS["a"])
    assert [] == host.tables()


def create_port(host: Host, mac: str, uuid: UUID = PORT) -> None:
    """Create a port as libvirt's QEMU driver does, which makes its device by itself."""
    text = (
        f"<networkport><uuid>{uuid}</uuid><owner><name>b</name><uuid>{uuid}</uuid></owner>"
        f"<mac address='{mac}'/></networkport>"
    )
    with RawClient(host.file(RUN_DIR) / "libvirt-sock") as client:
        client.open()
        client.call("port_create", client.lookup("red"), text, 0)


def delete_port(host: Host, uuid: UUID = PORT) -> None:
    """Delete the client's port."""
    with RawClient(host.file(RUN_DIR) / "libvirt-sock") as client:
        client.open()
        client.call("port_delete", PortRef(client.lookup("red"), uuid), 0)


def make_macvlan(host: Host, name: str, lower: str) -> Guest:
    """Make a guest whose device is not ours, as a client of libvirt's protocol does."""
    guest = make_guest(host, name)
    device = ("link", lower, "name", "theirs0", "address", MAC, "type", "macvlan")
    host.ip("link", "add", *device, "mode", "private")
    host.ip("link", "set", "theirs0", "netns", name, "name", "eth0")
    guest.run(["ip", "link", "set", "eth0", "up"])
    add_address(guest, "eth0", f"{GUESTS[name]}/24")
    return guest


def test_a_clients_guest(host: Host, daemon: Daemon, uplinks: dict[str, str]) -> None:
    """A guest whose device a client makes is kept from ours, and ours from it."""
    begin(daemon, "private", "eth1")
    a = plug_in(daemon, host, "a")
    create_port(host, MAC)
    b = make_macvlan(host, "b", "eth1")
    acquaint({"a": a, "b": b})
    both = sorted((a.mac(), MAC))
    assert {"eth1": both} == {key: one for key, (one, _) in guarded(host).items()}
    assert not reaches(a, GUESTS["b"])
    assert not reaches(b, GUESTS["a"])
    assert comes_to_reach(b, OUTSIDE)

    daemon.cli("detach", "a")
    daemon.kill9()
    host.run(["nft", "flush", "ruleset"])
    daemon.start()
    assert {"eth1": ([MAC], 0)} == guarded(host)
    delete_port(host)
    assert [] == host.tables()


def test_two_ports_of_a_client_have_one_address(
    host: Host, daemon: Daemon, uplinks: dict[str, str]
) -> None:
    """What keeps it from the others stays as long as one of them is there, over each NIC."""
    begin(daemon, "private", *TWO_NICS)
    ports = [UUID(int=number) for number in range(1, 5)]
    for uuid in ports:
        create_port(host, MAC, uuid)
    uplink = {UUID(one["uuid"]): one["plug"]["dev"] for one in daemon.cli("ports", json=True)}
    assert ["eth1", "eth2", "eth1", "eth2"] == [uplink[uuid] for uuid in ports]
    both = {"eth1": ([MAC], 0), "eth2": ([MAC], 0)}
    assert both == guarded(host)
    delete_port(host, ports[0])
    assert both == guarded(host)
    delete_port(host, ports[2])
    assert {"eth2": ([MAC], 0)} == guarded(host)
    delete_port(host, ports[1])
    assert {"eth2": ([MAC], 0)} == guarded(host)
    delete_port(host, ports[3])
    assert [] == host.tables()


def test_a_transient_network_ends(host: Host, daemon: Daemon, uplinks: dict[str, str]) -> None:
    """With it go its clients' ports, and what there was for them."""
    with RawClient(host.file(RUN_DIR) / "libvirt-sock") as client:
        client.open()
        (network,) = client.call("network_create_xml", document("private", "eth1"))
        create_port(host, MAC)
        assert {"eth1": ([MAC], 0)} == guarded(host)
        client.call("network_destroy", network)
    assert [] == host.tables()


def test_an_uplink_goes_and_comes_back(
    host: Host, lan: Lan, daemon: Daemon, uplinks: dict[str, str]
) -> None:
    """Guests over the other one are guarded as before; nothing else minds."""
    begin(daemon, "private", *TWO_NICS)
    a, b = (plug_in(daemon, host, name) for name in GUESTS)
    b_mac = b.mac()
    lan.unplug(uplinks["eth1"])
    wait_for(lambda: "eth1" not in host.links(), 5, "the uplink to be gone")
    assert a.links() == {"lo"}
    host.run(["nft", "flush", "ruleset"])
    wait_for(lambda: b_mac in guarded(host).get("eth2", ([], 0))[0], 5, "b to be guarded")
    daemon.cli("stop", "red")
    daemon.cli("start", "red")
    daemon.cli("detach", "a")
    plug_uplink(host, lan, "eth1")
    daemon.cli("attach", "red", "--netns", "a", "--ifname", "eth0")
    add_address(a, "eth0", f"{GUESTS['a']}/24")
    acquaint({"a": a, "b": b})
    assert comes_to_reach(a, OUTSIDE)
    assert not reaches(a, GUESTS["b"])
    assert not reaches(b, GUESTS["a"])
    daemon.cli("detach", "a")
    daemon.cli("detach", "b")
    assert [] == host.tables()


def test_a_table_of_somebody_else(host: Host, daemon: Daemon, uplinks: dict[str, str]) -> None:
    """It is named, left alone, and nobody is let in unguarded."""
    host.run(["nft", "add", "table", "netdev", TABLE])
    begin(daemon, "private", "eth1")
    refused = daemon.cli("attach", "red", "--tap", "t0", check=False)
    assert 0 != refused.returncode
    assert f"table netdev {TABLE}" in refused.stderr
    assert {"lo", *TWO_NICS} == host.links()
    assert "" == host.run(["nft", "list", "table", "netdev", TABLE]).stdout.partition("{")[2].strip(
        " \n}"
    )


def test_killed_anywhere(host: Host) -> None:
    """Killed before any act, a daemon's next one has the guest guarded, or nothing of it."""
    host.run(["ip", "link", "add", "eth1", "type", "veth", "peer", "name", "cable"])
    host.guest("a")

    def attach(client: Client) -> None:
        body = {"netns": "a", "ifname": "eth0", "mac": MAC, "name": "a"}
        client.request("POST", "/v1/networks/red/ports", body)

    def detach(client: Client) -> None:
        client.request("DELETE", "/v1/ports/a")

    with (
        tempfile.TemporaryDirectory(prefix="jackfield-") as state,
        CrashingDaemon(host, Path(state)) as daemon,
    ):
        text = document("private", "eth1")
        daemon.client.request("POST", "/v1/networks", text, query={"apply": "1"})
        acts = crash_everywhere(daemon, Operation(do=attach, undo=detach))
        assert any(TABLE in act for act in acts)
        crash_twice(daemon, Operation(do=attach, undo=detach), at=len(acts))
        attach(daemon.client)
        crash_everywhere(daemon, Operation(do=detach, undo=attach))
        detach(daemon.client)
        assert [] == host.tables()
