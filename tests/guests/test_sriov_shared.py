"""Virtual functions that carry frames of several guests, on a machine that has one.

::

    machine (QEMU)                                                  host
    guests a, b, …
        │ macvlans of the three modes; or a bridge, somebody else's or ours
    virtual functions 0 to 2 ── eth0 (igb, physical function) ── card (tap) ── lan, 192.0.2.1

The card's own switch sends frames from function to function, and back to the one that they came
from; turned off, all go to the LAN, whose port may reflect (hairpin) or not.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator, Mapping

import pytest

from tests.guests.site import ADDRESSES, CARD_ADDRESS, DAEMON, ROOM, Site
from tests.lab.packets import ping
from tests.lab.wait import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

LAN = "192.0.2.1"
HOST = "192.0.2.10"
GUESTS = {"a": "192.0.2.21", "b": "192.0.2.22"}
#: The driver enters three addresses at most.
MACS = {"a": "52:54:00:00:00:0a", "b": "52:54:00:00:00:0b", "c": "52:54:00:00:00:0c"}
FUNCTIONS = """
<network>
  <name>functions</name>
  <forward mode='hostdev' managed='yes'><pf dev='eth0'/></forward>
</network>
"""
HOW = "guests in namespaces over a virtual function"
IP = "/usr/sbin/ip"


class Net:
    """A network that runs over the first function, or all, and the guests on it."""

    def __init__(self, site: Site) -> None:
        """Work on the machine ``site``."""
        self.site = site
        #: The first function's interface.
        self.dev = site.interfaces()[ADDRESSES[0]][0]

    def begin(self, forward: str, more: str = "") -> None:
        """Define and start the network."""
        document = f"<network><name>red</name>{forward}{more}</network>"
        self.site.ask("POST", "/v1/networks", document)
        self.site.ask("POST", "/v1/networks/red/start")

    def end(self) -> None:
        """Take the network away, if it is there, and the guests."""
        for network in self.site.ask("GET", "/v1/networks"):
            if network["name"] == "red":
                if network["active"]:
                    self.site.ask("POST", "/v1/networks/red/stop")
                self.site.ask("DELETE", "/v1/networks/red")
        self.site.run(f"for one in a b; do {IP} netns del $one 2>/dev/null; done; true")

    def plug_in(self, *names: str) -> None:
        """Make guests in namespaces."""
        for name in names:
            self.site.run(f"mkdir -p /run/netns; {IP} netns add {name}")
            self.site.attach("red", handover=False, netns=name, ifname="eth0", mac=MACS[name])
            self.site.run(f"{IP} -n {name} addr add {GUESTS[name]}/24 dev eth0")

    def acquaint(self) -> None:
        """Have the guests know each other's addresses, so that they need no broadcast."""
        for one, other in (("a", "b"), ("b", "a")):
            known = f"{GUESTS[other]} lladdr {MACS[other]} dev eth0 nud permanent"
            self.site.run(f"{IP} -n {one} neigh replace {known}")

    def detach(self, *names: str) -> None:
        """Take ports of guests away."""
        for port in self.site.ask("GET", "/v1/ports"):
            if port["owner"]["name"] in names:
                self.site.detach(port)

    def has_settings(self) -> tuple[bool, bool]:
        """Return whether the function is trusted, and whether its frames are checked."""
        function = self.site.function(0)
        return function["trust"], function["spoofchk"]

    def own(self) -> list[str]:
        """Return what the function receives beside its own address and multicast."""
        rows = json.loads(self.site.run(f"bridge -j fdb show dev {self.dev}"))
        return sorted(
            row["mac"] for row in rows if "self" in row["flags"] and not int(row["mac"][:2], 16) & 1
        )

    def promiscuity(self) -> int:
        """Return how many want the function to hear everything."""
        (link,) = self.site.machine.ip("-d", "link", "show", self.dev)
        return int(link["promiscuity"])

    def echoes(self) -> list[list[str]]:
        """Return which addresses must not come in by which links."""
        listed = json.loads(self.site.run("nft -j list ruleset"))["nftables"]
        sets = [one["set"] for one in listed if one.get("set", {}).get("name") == "guests"]
        return sorted(item["concat"] for one in sets for item in one.get("elem", []))

    def all(self) -> list[object]:
        """Return everything that a port over a function changes."""
        links = sorted(link["ifname"] for link in self.site.machine.ip("link", "show"))
        rules = self.site.run("nft list ruleset")
        return [self.site.functions(), self.own(), self.promiscuity(), links, rules]

    def expect(self, wanted: Mapping[str, bool]) -> None:
        """Check who reaches whom: ``FROM TO`` answers, or never does."""
        places = {"lan": LAN, "host": HOST, **GUESTS}
        tries = "; ".join(
            f"({IP} netns exec {pair.split()[0]} ping -c 1 -W 1 {places[pair.split()[1]]}"
            f" >/dev/null 2>&1 && echo {pair}) &"
            for pair in wanted
        ).replace("&;", "&")

        def reached() -> bool:
            heard = set(self.site.run(f"{tries} wait").splitlines())
            assert not {pair for pair in heard if not wanted[pair]}
            return heard == {pair for pair, answers in wanted.items() if answers}

        wait_for(reached, 15, f"this to be so: {wanted}", interval=0)


@pytest.fixture
def net(machine: Site) -> Iterator[Net]:
    """Give the machine with functions, the first one's interface up; nothing else is left."""
    if not machine.ask("GET", "/v1/networks"):
        machine.ask("POST", "/v1/networks", FUNCTIONS)
        machine.ask("POST", "/v1/networks/functions/start")
    net = Net(machine)
    machine.run(f"{IP} link set {net.dev} up")
    try:
        yield net
    finally:
        for port in machine.ask("GET", "/v1/ports"):
            machine.detach(port)
        net.end()
        machine.run(f"{IP} link del br9 2>/dev/null; {IP} addr flush dev {net.dev}")


@pytest.fixture
def fresh(net: Net) -> Net:
    """Give functions that have just been made.

    This card's driver takes no address away that was entered once, so another test's would do.
    """
    net.site.run(f"{IP} link set {net.dev} down")
    for act in ("stop", "start"):
        net.site.ask("POST", f"/v1/networks/functions/{act}")
    assert net.dev == net.site.interfaces()[ADDRESSES[0]][0]
    net.site.run(f"{IP} link set {net.dev} up")
    return net


@contextlib.contextmanager
def switched(net: Net, *, inside: bool, hairpin: bool = False) -> Iterator[None]:
    """Have the card's own switch forward (``inside``) or not, and the LAN's reflect or not."""

    def turn(inside: bool, hairpin: bool) -> None:
        net.site.machine.call(f"{ROOM}:set_switch", address=CARD_ADDRESS, on=inside)
        flag = "on" if hairpin else "off"
        net.site.host.run(["bridge", "link", "set", "dev", "card", "hairpin", flag])

    turn(inside, hairpin)
    try:
        yield
    finally:
        turn(True, False)


@pytest.mark.parametrize(
    ("mode", "guests"),
    [
        pytest.param("bridge", True, marks=pytest.mark.shows("macvtap-bridge", HOW)),
        pytest.param("vepa", None, marks=pytest.mark.shows("vepa", HOW)),
        pytest.param("private", False, marks=pytest.mark.shows("private", HOW)),
    ],
)
def test_macvtaps_over_a_function(net: Net, mode: str, guests: bool | None) -> None:
    """Everybody reaches the LAN; each other and the host as mode and switches have it."""
    net.site.run(f"{IP} addr add {HOST}/24 dev {net.dev}")
    net.begin(f"<forward mode='{mode}'><interface dev='{net.dev}'/></forward>")
    before = net.all()
    net.plug_in("a", "b")
    assert (True, False) == net.has_settings()
    if mode == "private":
        net.acquaint()
    for inside, hairpin in ((True, False), (False, False), (False, True)):
        reflected = inside or hairpin
        with switched(net, inside=inside, hairpin=hairpin):
            net.expect(
                {
                    "a lan": True,
                    "b lan": True,
                    "a b": reflected if guests is None else guests,
                    "a host": reflected,
                }
            )
    net.detach("a")
    assert (True, False) == net.has_settings()
    net.detach("b")
    assert before == net.all()


@pytest.mark.shows("macvtap-bridge", "guests in namespaces over a pool of virtual functions")
@pytest.mark.shows("vepa", "guests in namespaces over a pool of virtual functions")
@pytest.mark.shows("private", "guests in namespaces over a pool of virtual functions")
def test_macvtaps_over_a_pool_of_functions(fresh: Net) -> None:
    """`<pf>` stands for its functions: each guest gets the one with the fewest."""
    net = fresh
    before = net.site.functions()
    for mode in ("bridge", "vepa", "private"):
        net.begin(f"<forward mode='{mode}'><pf dev='eth0'/></forward>")
        net.plug_in("a", "b")
        assert [True, True, False] == [one["trust"] for one in net.site.functions()]
        # What knows each other meets in the card's own switch, unless it must not.
        net.acquaint()
        meets = mode != "private"
        net.expect({"a lan": True, "b lan": True, "a b": meets, "b a": meets})
        # A function that has macvtaps is not given to anybody else.
        net.site.attach("functions", mac=MACS["c"])
        with pytest.raises(AssertionError, match=r"0000:01:10\.0 1/1; uplink 0000:01:10\.2 1/1"):
            net.site.attach("functions")
        for port in net.site.ask("GET", "/v1/ports"):
            net.site.detach(port)
        net.end()
    after = net.site.functions()
    # The third one's driver has drawn another address.
    assert [one | {"address": ""} for one in before] == [one | {"address": ""} for one in after]


@pytest.mark.shows("bridge", f"{HOW}, ours and somebody else's")
@pytest.mark.parametrize("managed", [False, True])
def test_a_bridge_over_a_function(fresh: Net, managed: bool) -> None:
    """Guests reach all there is, and are reached, whatever comes back to the function."""
    net = fresh
    if managed:
        net.site.run(f"{IP} addr add {HOST}/24 dev {net.dev}")
        uplinks = f"<uplinks><interface dev='{net.dev}'/></uplinks>"
        net.begin("<forward mode='bridge'/>", f"<bridge name='br9'>{uplinks}</bridge>")
    else:
        net.site.run(
            f"{IP} link add br9 type bridge && {IP} link set {net.dev} master br9"
            f" && {IP} link set br9 up && {IP} addr add {HOST}/24 dev br9"
        )
        net.begin("<forward mode='bridge'/>", "<bridge name='br9'/>")
    before = net.all()
    net.plug_in("a", "b")
    assert (True, False) == net.has_settings()
    assert [MACS["a"], MACS["b"]] == net.own()
    assert [[net.dev, MACS["a"]], [net.dev, MACS["b"]]] == net.echoes()
    assert net.promiscuity() > 0
    for inside, hairpin in ((True, False), (False, False), (False, True)):
        with switched(net, inside=inside, hairpin=hairpin):
            net.expect(dict.fromkeys(("a lan", "b lan", "a b", "b a", "a host"), True))
    net.site.host.run(["ip", "neigh", "flush", "dev", "lan"])
    assert ping(net.site.host, GUESTS["a"], tries=5) is not None
    assert ping(net.site.host, HOST, tries=5) is not None

    # The same by a tap; what somebody else has entered before it stays.
    net.site.run(f"bridge fdb add {MACS['c']} dev {net.dev} self permanent")
    port = net.site.attach("red", handover=False, tap="tap0", mac=MACS["c"])
    answer = net.site.machine.call(
        f"{ROOM}:ask_by_tap", tap="tap0", mac=MACS["c"], source="192.0.2.23", target=LAN
    )
    (lan,) = net.site.host.ip("link", "show", "lan")
    assert lan["address"] == answer
    net.site.detach(port)
    assert sorted(MACS.values()) == net.own()
    net.site.run(f"bridge fdb del {MACS['c']} dev {net.dev} self")

    # Addresses go one by one, the rest with the last.
    net.detach("b")
    assert [MACS["a"]] == net.own()
    assert (True, False) == net.has_settings()
    net.detach("a")
    assert before == net.all()


def test_a_clients_guest_on_a_bridge_over_a_function(net: Net) -> None:
    """libvirt's QEMU driver makes its tap itself; its way out is made for it."""
    uplinks = f"<uplinks><interface dev='{net.dev}'/></uplinks>"
    net.begin("<forward mode='bridge'/>", f"<bridge name='br9'>{uplinks}</bridge>")
    before = net.all()
    net.site.machine.call(f"{DAEMON}:create_client_port", network="red", mac=MACS["a"])
    while_there = net.all()
    assert ((True, False), [MACS["a"]]) == (net.has_settings(), net.own())
    assert [[net.dev, MACS["a"]]] == net.echoes()
    net.site.machine.call(f"{DAEMON}:kill")
    net.site.run(f"nft flush ruleset; bridge fdb del {MACS['a']} dev {net.dev} self")
    net.site.machine.call(f"{DAEMON}:start")
    assert while_there == net.all()
    (port,) = net.site.ask("GET", "/v1/ports")
    net.site.detach(port)
    assert before == net.all()


def test_a_killed_monitor_leaves_nothing_set(net: Net) -> None:
    """Nor does one that is killed together with the daemon."""
    uplinks = f"<uplinks><interface dev='{net.dev}'/></uplinks>"
    net.begin("<forward mode='bridge'/>", f"<bridge name='br9'>{uplinks}</bridge>")
    before = net.all()
    script = "echo $$ >/run/monitor; exec sleep 1000 <&{nic0.fd}"
    net.site.run(
        f"cd {shlex.quote(str(net.site.machine.checkout))}; .venv/bin/python -m"
        f" jackfield.cli.main run --nic network=red,mac={MACS['a']} -- sh -c {shlex.quote(script)}"
        " >/run/monitor.log 2>&1 &"
    )
    monitor = "cat /run/monitor 2>/dev/null; true"
    wait_for(lambda: net.site.run(monitor), 60, "the monitor to run")
    assert ((True, False), [MACS["a"]]) == (net.has_settings(), net.own())
    net.site.run(f"kill -9 {net.site.run(monitor)}")
    wait_for(lambda: before == net.all(), 20, "all to be as it was")

    process = net.site.machine.call(f"{DAEMON}:attach_held", network="red", mac=MACS["a"])
    assert ((True, False), [MACS["a"]]) == (net.has_settings(), net.own())
    net.site.machine.call(f"{DAEMON}:kill")
    net.site.run(f"kill -9 {process}")
    net.site.machine.call(f"{DAEMON}:start")
    wait_for(lambda: before == net.all(), 20, "all to be as it was")


def test_a_killed_daemon_leaves_nothing_of_a_carrier(net: Net) -> None:
    """Killed before any act that a carrier needs, the next daemon has all as it was before."""
    uplinks = f"<uplinks><interface dev='{net.dev}'/></uplinks>"
    net.begin("<forward mode='bridge'/>", f"<bridge name='br9'>{uplinks}</bridge>")
    net.site.run(f"mkdir -p /run/netns; {IP} netns add a")
    before = net.all()
    wish = {"netns": "a", "ifname": "eth0", "mac": MACS["a"]}
    for act, word in ((4, "spoof-check"), (12, "receive what is sent"), (13, "a port of br9")):
        crashed = net.site.ask_killed(act, "POST", "/v1/networks/red/ports", wish)
        assert word in str(crashed)
        assert before == net.all(), f"killed before {crashed}"
    for act, word in ((4, "receive no more"), (6, "set the trust")):
        port = net.site.attach("red", handover=False, **wish)
        crashed = net.site.ask_killed(act, "DELETE", f"/v1/ports/{port['uuid']}")
        assert word in str(crashed)
        assert before == net.all(), f"killed before {crashed}"
