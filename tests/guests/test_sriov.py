"""Virtual functions of a card, each for one guest, on a machine that has one.

::

    machine (QEMU)                                                   host
    networks vfs (hostdev), pass (passthrough)
        │
    virtual functions 0 to 2 ── eth0 (igb, physical function) ── card (tap) ── lan, 192.0.2.1
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator

import pytest

from tests.guests import qemu, template
from tests.guests.machine import FUNCTIONS
from tests.guests.site import ADDRESSES, CARD_ADDRESS, DAEMON, MAC, ROOM, Site
from tests.lab.wait import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

VFS = """
<network>
  <name>vfs</name>
  <forward mode='hostdev' managed='yes'><pf dev='eth0'/></forward>
  <portgroup name='gold'>
    <vlan><tag id='42'/></vlan>
    <bandwidth><outbound average='12500'/></bandwidth>
  </portgroup>
  <portgroup name='trusted' trustGuestRxFilters='yes'/>
  <portgroup name='trunk'><vlan trunk='yes'><tag id='1'/><tag id='2'/></vlan></portgroup>
</network>
"""
PASS = """
<network>
  <name>pass</name>
  <forward mode='passthrough'><pf dev='eth0'/></forward>
  <portgroup name='tagged'><vlan><tag id='42'/></vlan></portgroup>
</network>
"""
GUEST = "tests.guests.inside_guest"
GUEST_FOLDER = "/run/guest"


@pytest.fixture
def site(machine: Site) -> Iterator[Site]:
    """Give the machine with both networks running, and no port before and after the test."""
    if not machine.ask("GET", "/v1/networks"):
        for document in (VFS, PASS):
            machine.ask("POST", "/v1/networks", document)
    for network in machine.ask("GET", "/v1/networks"):
        if not network["active"]:
            machine.ask("POST", f"/v1/networks/{network['name']}/start")
    yield machine
    for port in machine.ask("GET", "/v1/ports"):
        machine.detach(port)


def test_functions_are_made_and_known(site: Site) -> None:
    """A network has the functions that the configuration asks for, each with its interface."""
    assert ["0000:01:10.0", "0000:01:10.2", "0000:01:10.4"] == site.run(
        "for one in /sys/class/net/eth0/device/virtfn*; do basename $(readlink $one); done"
    ).split()
    (card,) = site.machine.ip("link", "show", "eth0")
    assert "UP" in card["flags"]
    interfaces = site.interfaces()
    assert {
        "eth0": [
            {"address": address, "dev": interfaces[address][0], "driver": "igbvf"}
            for address in ADDRESSES
        ]
    } == site.machine.call(f"{ROOM}:facts")


def test_a_function_for_a_guest(site: Site) -> None:
    """It is set and bound to vfio-pci, can be opened, and is as it was after the port."""
    before = site.all()
    port = site.attach("vfs", portgroup="gold")
    assert {
        "kind": "hostdev-pci",
        "address": ADDRESSES[0],
        "managed": True,
    } == port["plug"]
    assert port["device"] is None
    assert {
        "address": MAC,
        "vlan_list": [{"vlan": 42}],
        "rate": {"max_tx": 103, "min_tx": 0},
        "spoofchk": True,
        "trust": False,
    } == site.function(0)
    assert ("vfio-pci", "vfio-pci") == site.drivers()[0]
    assert ADDRESSES[0] not in site.interfaces()
    (group,) = site.run("ls /dev/vfio | grep -v vfio").split()
    opened = site.machine.call(f"{ROOM}:open_function", address=ADDRESSES[0], group=int(group))
    assert {"viable": 1, "pci": 1} == {key: opened[key] for key in ("viable", "pci")}
    assert opened["regions"] > 0
    site.detach(port)
    assert before == site.all()


def test_a_trusted_guest(site: Site) -> None:
    """It may take other addresses, and send from them."""
    port = site.attach("vfs", portgroup="trusted")
    function = site.function(0)
    assert (True, False) == (function["trust"], function["spoofchk"])
    site.detach(port)
    function = site.function(0)
    assert (False, True) == (function["trust"], function["spoofchk"])


def test_a_function_under_a_macvtap(site: Site) -> None:
    """Its driver has learned the address; it keeps its name, and is as it was after the port."""
    before = site.all()
    name = site.interfaces()[ADDRESSES[0]][0]
    port = site.attach("pass")
    assert {"kind": "direct", "dev": name, "mode": "passthrough"} == port["plug"]
    assert (name, MAC, True) == site.interfaces()[ADDRESSES[0]]
    assert MAC == site.function(0)["address"]
    (macvtap,) = site.machine.ip("link", "show", port["device"])
    assert (MAC, name) == (macvtap["address"], macvtap["link"])
    site.detach(port)
    assert before == site.all()


@pytest.mark.shows("passthrough over a function", "guests in namespaces, on a machine with SR-IOV")
def test_frames_of_a_function_reach_the_lan(site: Site) -> None:
    """A namespace on a function reaches the LAN; with a tag, its frames leave with that."""
    site.run("mkdir -p /run/netns && /usr/sbin/ip netns add guest")
    inside = "/usr/sbin/ip netns exec guest"
    try:
        port = site.attach("pass", handover=False, netns="guest", ifname="eth0")
        site.run(f"{inside} /usr/sbin/ip addr add 192.0.2.20/24 dev eth0")
        site.run(f"{inside} ping -c 1 -W 10 192.0.2.1")
        (neighbour,) = site.host.ip("neigh", "show", "192.0.2.20")
        assert MAC == neighbour["lladdr"]
        site.detach(port)

        site.attach("pass", handover=False, netns="guest", ifname="eth0", portgroup="tagged")
        site.run(f"{inside} /usr/sbin/ip addr add 192.0.2.21/24 dev eth0")
        capture = site.host.start(
            ["tcpdump", "-lnnei", "card", "-c", "1", "vlan 42 and arp"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            assert capture.popen.stderr is not None
            while "listening" not in capture.popen.stderr.readline():
                assert capture.poll() is None
            site.run(f"{inside} ping -c 1 -W 1 192.0.2.1; true")
            assert 0 == capture.wait(10)
            assert capture.popen.stdout is not None
            said = capture.popen.stdout.read()
        finally:
            capture.kill9()
        assert f"{MAC} > ff:ff:ff:ff:ff:ff" in said
        assert "vlan 42" in said
    finally:
        for one in site.ask("GET", "/v1/ports"):
            site.detach(one)
        site.run("/usr/sbin/ip netns del guest")


def test_what_somebody_else_has_changed_stays(site: Site) -> None:
    """An administrator's tag of a guest's function is not taken back; the rest is."""
    former = site.function(0)
    port = site.attach("vfs", portgroup="gold")
    site.run("/usr/sbin/ip link set eth0 vf 0 vlan 7 qos 3")
    site.machine.call(f"{DAEMON}:kill")
    site.machine.call(f"{DAEMON}:start")
    assert [{"vlan": 7, "qos": 3}] == site.function(0)["vlan_list"]
    site.detach(port)
    assert former | {"vlan_list": [{"vlan": 7, "qos": 3}]} == site.function(0)
    # It is theirs now, and a port without a tag of its own leaves it.
    port = site.attach("vfs")
    assert [{"vlan": 7, "qos": 3}] == site.function(0)["vlan_list"]
    site.detach(port)
    port = site.attach("vfs", portgroup="gold")
    assert [{"vlan": 42}] == site.function(0)["vlan_list"]
    site.detach(port)
    assert [{"vlan": 7, "qos": 3}] == site.function(0)["vlan_list"]
    site.run("/usr/sbin/ip link set eth0 vf 0 vlan 0")
    assert former == site.function(0)


def test_functions_that_the_host_uses_are_not_given_away(site: Site) -> None:
    """One whose interface has an address is passed over; so are used ones when networks stop."""
    name = site.interfaces()[ADDRESSES[0]][0]
    site.run(f"ip addr add 198.51.100.1/24 dev {name} && ip link set {name} up")
    try:
        port = site.attach("vfs")
        assert ADDRESSES[1] == port["plug"]["address"]
        site.ask("POST", "/v1/networks/pass/stop")
        site.ask("POST", "/v1/networks/vfs/stop")
        assert ("vfio-pci", "vfio-pci") == site.drivers()[1]
        site.ask("POST", "/v1/networks/vfs/start")
        site.detach(port)
        assert ("igbvf", "(null)") == site.drivers()[1]
    finally:
        site.run(f"ip addr flush dev {name} && ip link set {name} down")


def test_a_function_that_a_process_has_open_is_not_taken_away(site: Site) -> None:
    """The port stays with all that is set, until the process lets go of it."""
    before = site.all()
    port = site.attach("vfs", portgroup="gold")
    while_attached = site.all()
    (group,) = site.run("ls /dev/vfio | grep -v vfio").split()
    process = site.run(f"sleep 1000 <>/dev/vfio/{group} >/dev/null 2>&1 & echo $!")
    try:
        with pytest.raises(AssertionError, match=r"0000:01:10\.0 is in use: a process has it open"):
            site.detach(port)
        assert while_attached == site.all()
    finally:
        site.run(f"kill {process}")
    wait_for(lambda: not site.run(f"ls -d /proc/{process} 2>/dev/null; true"), 5, "its end")
    site.detach(port)
    assert before == site.all()


def test_requests_that_no_function_can_fulfil(site: Site) -> None:
    """They are refused with the reason, before anything is set."""
    before = site.all()
    for wish, words in (
        ({"portgroup": "trunk"}, "cannot have a trunk"),
        ({"handover": False, "tap": "tap0"}, "cannot be a tap or in a namespace"),
    ):
        with pytest.raises(AssertionError, match=words):
            site.attach("vfs", **wish)
    assert before == site.all()


def test_the_monitor_is_told_the_address(site: Site) -> None:
    """`jackfield run` gives a PCI function by its address, and frees it when the monitor ends."""
    before = site.all()
    command = "echo {nic0.address} {nic0.mac}; readlink -f /sys/bus/pci/devices/{nic0.address}"
    said = site.run(
        f"cd {shlex.quote(str(site.machine.checkout))};"
        f" .venv/bin/python -m jackfield.cli.main run --nic network=vfs,mac={MAC}"
        f" -- sh -c {shlex.quote(command + '/driver')}"
    )
    assert f"{ADDRESSES[0]} {MAC}\n/sys/bus/pci/drivers/vfio-pci" == said
    wait_for(lambda: before == site.all(), 20, "the function to be as it was")


@pytest.mark.shows("hostdev", "a real guest, on a machine with SR-IOV")
def test_a_guest_with_a_function_reaches_the_lan(site: Site) -> None:
    """QEMU, started by `jackfield run`, passes it on to a guest, whose driver finds the address."""
    before = site.all()
    site.run(f"mkdir -p {GUEST_FOLDER}")
    site.machine.load("kvm_amd")
    command = [
        *(f"{site.machine.checkout}/.venv/bin/python", "-m", "jackfield.cli.main", "run"),
        *("--nic", f"network=vfs,mac={MAC}", "--"),
        *template.booting(f"{GUEST_FOLDER}/shell", f"{GUEST_FOLDER}/console"),
    ]
    site.machine.call(
        f"{GUEST}:start",
        patience=250,
        command=command,
        environment=dict(qemu.environment()),
        timeout=240,
    )
    try:
        assert ("vfio-pci", "vfio-pci") == site.drivers()[0]
        line = (
            "ip link set eth0 up; ip addr add 192.0.2.30/24 dev eth0;"
            " ping -c 1 -W 60 192.0.2.1 >/dev/null && cat /sys/class/net/eth0/address"
        )
        said = site.machine.call(f"{GUEST}:run", patience=250, command=line, timeout=240)
        assert MAC == said
        (neighbour,) = site.host.ip("neigh", "show", "192.0.2.30")
        assert MAC == neighbour["lladdr"]
    finally:
        site.machine.call(f"{GUEST}:end")
    wait_for(lambda: before == site.all(), 30, "the function to be as it was")


def test_the_room_names_what_cannot_be_done(site: Site) -> None:
    """More functions than the card can have, drivers and cards that are not there."""
    assert (
        f"configuration-error: eth0 can have {FUNCTIONS} virtual functions, not 8"
        == site.machine.call(f"{ROOM}:make", count="8")
    )
    assert "lo has no virtual functions" in site.machine.call(f"{ROOM}:make", count="1", link="lo")

    def refusal(address: str, aspect: str, value: str) -> str:
        answer: str = site.machine.call(
            f"{ROOM}:set_aspect", address=address, aspect=aspect, value=value
        )
        return answer

    assert "missing-feature: cannot give 0000:01:10.0 to nothing" in refusal(
        ADDRESSES[0], "override", "nothing"
    )
    assert "there is no such function on this host" in refusal("0000:01:1f.7", "mac", MAC)
    assert "EINVAL" in refusal(ADDRESSES[0], "vlan", "4095 9")
    # This card has no other protocol for tags.
    assert "EPROTONOSUPPORT" in refusal(ADDRESSES[0], "vlan", "42 0 802.1ad")
    assert {None} == set(site.machine.call(f"{ROOM}:look", address="0000:01:1f.7").values())
    # Nor does the card's own function have a physical one.
    assert {None} == set(site.machine.call(f"{ROOM}:look", address=CARD_ADDRESS).values())


def test_a_killed_daemon_leaves_nothing_set(site: Site) -> None:
    """Killed before any act of an attach, the next daemon has everything as it was before."""
    # A driver draws another address at each binding, until one has been administered.
    site.detach(site.attach("vfs"))
    before = site.all()
    body = {"handover": True, "mac": MAC, "portgroup": "gold"}
    killed: list[str] = []
    for act in range(1, 60):
        crashed = site.ask_killed(act, "POST", "/v1/networks/vfs/ports", body)
        if crashed is None:
            break
        killed.append(crashed)
        assert before == site.all(), f"killed before {crashed}"
    for word in ("driver_override", "unbind", "drivers_probe", "set the mac", "set the vlan"):
        assert any(word in crashed for crashed in killed), killed
    # The last one did it all, and was killed after it had answered.
    assert ("vfio-pci", "vfio-pci") == site.drivers()[0]
    assert MAC == site.function(0)["address"]


def test_a_killed_daemon_completes_a_detach(site: Site) -> None:
    """Killed while it puts a function back, the next daemon puts back the rest."""
    before = site.all()
    killed = []
    for act in (3, 5, 7):
        port = site.attach("vfs", portgroup="gold")
        killed.append(site.ask_killed(act, "DELETE", f"/v1/ports/{port['uuid']}"))
        assert before == site.all(), f"killed before {killed[-1]}"
    assert None not in killed


def test_a_killed_daemon_makes_no_functions(site: Site) -> None:
    """Killed while it starts a network, the next daemon has taken its functions away."""
    site.ask("POST", "/v1/networks/pass/stop")
    for act, word in ((3, "numvfs"), (4, "commit")):
        site.ask("POST", "/v1/networks/vfs/stop")
        crashed = site.ask_killed(act, "POST", "/v1/networks/vfs/start")
        assert crashed is not None
        assert word in crashed
        assert "0" == site.run("cat /sys/class/net/eth0/device/sriov_numvfs")
        assert not any(network["active"] for network in site.ask("GET", "/v1/networks"))
        site.ask("POST", "/v1/networks/vfs/start")
        assert 3 == len(site.interfaces())


@pytest.mark.parametrize("network", ["vfs", "pass"])
def test_functions_go_with_the_last_port(site: Site, network: str) -> None:
    """They and the card's state are as they were before the first network wanted them."""
    port = site.attach(network)
    site.ask("POST", "/v1/networks/pass/stop")
    site.ask("POST", "/v1/networks/vfs/stop")
    assert "3" == site.run("cat /sys/class/net/eth0/device/sriov_numvfs")
    assert MAC == site.function(0)["address"]
    site.detach(port)
    assert "0" == site.run("cat /sys/class/net/eth0/device/sriov_numvfs")
    (card,) = site.machine.ip("link", "show", "eth0")
    assert "UP" not in card["flags"]
