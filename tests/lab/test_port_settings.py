"""What single ports are given: limits, a promised rate, isolation, known addresses, MTU, VLANs.

::

    anna, bert, carl (guests) ── red0, a bridge of ours (10.0.0.1/24) ── host
    guest0, guest1 (macvtaps) ── eth1 of the host ── LAN
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from jackfield.document.update.request import Command, Section
from jackfield.rpc.procedures import PortRef
from jackfield.rpc.xdr import Parameter, ParameterType
from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.flow import transfer, transfers
from tests.lab.guest import Guest
from tests.lab.host import Host
from tests.lab.namespace import Namespace
from tests.lab.packets import ping
from tests.lab.switch import Lan, add_address
from tests.lab.tc import guaranteed
from tests.lab.troubles import problem, problems, told
from tests.lab.wait import wait_for
from tests.rpc.client import RawClient, Refused

pytestmark = pytest.mark.lab

# Bytes a second and KiB/s; seconds of a transfer; an unlimited one is at least ten times as much.
RATE, AVERAGE, SECONDS = 256 * 1024, 256, 3.0
SLOW = (
    f"<portgroup name='slow'><bandwidth><inbound average='{AVERAGE}' burst='64'/>"
    f"<outbound average='{AVERAGE}' burst='64'/></bandwidth></portgroup>"
)
PORT = "00000000-0000-0000-0000-0000000000{:02d}"
MACS = {1: "52:54:00:00:00:01", 2: "52:54:00:00:00:02", 3: "52:54:00:00:00:03"}


def document(more: str = "", *, bridge: str = "") -> str:
    """Return the routed network red."""
    return (
        f"<network><name>red</name><forward mode='route'/><bridge name='red0' stp='off' {bridge}/>"
        f"{more}<ip address='10.0.0.1' prefix='24'/></network>"
    )


def over_uplink(more: str = "", *, mode: str = "bridge", attributes: str = "") -> str:
    """Return the network red over the uplink eth1."""
    return (
        f"<network {attributes}><name>red</name>"
        f"<forward mode='{mode}'><interface dev='eth1'/></forward>{more}</network>"
    )


def apply(daemon: Daemon, text: str) -> None:
    """Make the network so."""
    daemon.cli("apply", daemon.document(text))


def plug(daemon: Daemon, host: Host, name: str, address: int, *options: str) -> Guest:
    """Plug a new guest in, with an address and without IPv6: it says nothing by itself."""
    guest = host.guest(name)
    guest.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1")
    daemon.cli("attach", "red", "--netns", name, "--ifname", "eth0", *options)
    add_address(guest, "eth0", f"10.0.0.{address}/24")
    return guest


def device(daemon: Daemon, name: str) -> str:
    """Return the host's end of a guest's port."""
    (found,) = (
        port["device"] for port in daemon.cli("ports", json=True) if port["owner"]["name"] == name
    )
    return str(found)


def limits(host: Host, link: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Return how what leaves a link, and what comes in by it, is limited."""
    classes = host.run(["tc", "class", "show", "dev", link], check=False).stdout
    chain = ["nft", "list", "chain", "netdev", "jackfield-police", link]
    rules = host.run(chain, check=False).stdout
    return (
        re.findall(r"rate (\S+) ceil (\S+)", classes),
        re.findall(r"limit rate over (\S+ \S+)", rules),
    )


LIMITED = ([("2097Kbit", "2097Kbit")], ["256 kbytes/second"])


def test_limits_of_a_guest(host: Host, daemon: Daemon) -> None:
    """What a guest of the portgroup gets and sends is limited, and nobody else's."""
    apply(daemon, document(SLOW))
    anna = plug(daemon, host, "anna", 2, "--portgroup", "slow")
    bert = plug(daemon, host, "bert", 3)
    link = device(daemon, "anna")
    assert LIMITED == limits(host, link)
    assert ([], []) == limits(host, device(daemon, "bert"))
    for guest, address in ((anna, "10.0.0.2"), (bert, "10.0.0.3")):
        assert ping(guest, "10.0.0.1", tries=5) is not None
        assert ping(host, address, tries=5) is not None
    assert transfer([(host, bert, "10.0.0.3")], 0.5) / 0.5 > 10 * RATE
    assert transfer([(bert, host, "10.0.0.1")], 0.5) / 0.5 > 10 * RATE
    into = transfer([(host, anna, "10.0.0.2")], SECONDS)
    assert 0.5 * RATE * SECONDS < into < 2 * RATE * SECONDS
    # TCP makes the less of a policed way the more it loses there.
    out = transfer([(anna, host, "10.0.0.1")], SECONDS)
    assert 0.1 * RATE * SECONDS < out < 2 * RATE * SECONDS
    # Between two guests of the bridge as well: it is the port that is limited.
    across = transfer([(bert, anna, "10.0.0.2")], SECONDS)
    assert across < 2 * RATE * SECONDS
    port = next(port for port in daemon.cli("ports", json=True) if port["device"] == link)
    assert {"average": AVERAGE, "burst": 64} == {
        key: value for key, value in port["bandwidth"]["inbound"].items() if value is not None
    }
    daemon.cli("detach", "anna")
    assert "netdev jackfield-police" not in host.tables()


def test_limits_outlive_everything(host: Host, daemon: Daemon) -> None:
    """A restart, a crash, the network's end and beginning, and a flush change no limit."""
    apply(daemon, document(SLOW))
    plug(daemon, host, "anna", 2, "--portgroup", "slow")
    link = device(daemon, "anna")
    daemon.restart()
    assert LIMITED == limits(host, link)
    daemon.kill9()
    host.run(["tc", "qdisc", "del", "dev", link, "root"])
    host.run(["nft", "flush", "ruleset"])
    daemon.start()
    assert LIMITED == limits(host, link)
    daemon.cli("stop", "red")
    assert LIMITED == limits(host, link)
    daemon.cli("start", "red")
    assert LIMITED == limits(host, link)
    host.run(["nft", "flush", "ruleset"])
    wait_for(lambda: LIMITED == limits(host, link), 20, "the limit to be back")
    # What nobody watches is told by a plan, and mended when it is asked for.
    assert [] == daemon.cli("plan", "red", json=True)["steps"]
    host.run(["tc", "qdisc", "del", "dev", link, "root"])
    (step,) = daemon.cli("plan", "red", json=True)["steps"]
    assert f"traffic control on {link}: 256 KiB/s, 64 KiB at once out" == step["text"]
    daemon.cli("apply", "red")
    assert LIMITED == limits(host, link)
    assert [] == daemon.cli("plan", "red", json=True)["steps"]
    # Where no network has rules the limits are watched all the same.
    daemon.cli("stop", "red")
    host.run(["nft", "flush", "ruleset"])
    wait_for(lambda: LIMITED == limits(host, link), 20, "the limit to be back")


def test_tables_that_are_put_to_sleep(host: Host, daemon: Daemon) -> None:
    """Rules that are there and not in force are noticed at once, and by a daemon that starts."""
    apply(daemon, document(SLOW))
    anna = plug(daemon, host, "anna", 2, "--portgroup", "slow")
    tables = ("inet jackfield", "netdev jackfield-police")

    def asleep() -> list[str]:
        found = {name: host.run(["nft", "list", "table", *name.split()]).stdout for name in tables}
        return [name for name, text in found.items() if "dormant" in text]

    def wait_told(words: str) -> None:
        def is_told() -> bool:
            told = daemon.cli("events", "--no-follow", "--since", "0", "--json").splitlines()
            event = json.loads(told[-1])
            return event["type"] == "network-repaired" and words in event["detail"]["reason"]

        wait_for(is_told, 10, "the event")

    before = [host.run(["nft", "list", "table", *name.split()]).stdout for name in tables]
    assert [] == asleep()
    for name in tables:
        host.run(["nft", f"add table {name} {{ flags dormant; }}"])
        wait_for(lambda: not asleep(), 10, "the table to be awake")
        wait_told(f"table {name}: the table was added or changed by nft")
    after = [host.run(["nft", "list", "table", *name.split()]).stdout for name in tables]
    assert before == after
    daemon.kill9()
    for name in tables:
        host.run(["nft", f"add table {name} {{ flags dormant; }}"])
    assert list(tables) == asleep()
    daemon.start()
    assert [] == asleep()
    assert ping(anna, "10.0.0.1", tries=5) is not None


def test_a_plan_tells_of_a_table_that_sleeps(host: Host, daemon: Daemon) -> None:
    """Rules that are there and not in force are a step of a plan, for as long as they are not."""
    apply(daemon, document(SLOW))
    # It is woken within milliseconds, so it is put to sleep as often as it takes to be seen.
    spite = "while nft 'add table inet jackfield { flags dormant; }'; do :; done"
    spiteful = host.start(["sh", "-c", spite])

    def told() -> list[str]:
        return [step["text"] for step in daemon.cli("plan", "red", json=True)["steps"]]

    try:
        wait_for(
            lambda: told() == ["table inet jackfield: its rules are in force (it is dormant)"],
            20,
            "the plan to tell",
        )
    finally:
        spiteful.kill9()
    wait_for(lambda: told() == [], 10, "the table to be awake")


def test_limits_of_a_macvtap(host: Host, lan: Lan, outside: Host, daemon: Daemon) -> None:
    """A macvtap is limited both ways, the other way round; a guest's own macvlan cannot be."""
    lan.plug(host, "eth1")
    slow = SLOW.replace(f"<outbound average='{AVERAGE}'", "<outbound average='1024'")
    apply(daemon, over_uplink(slow))
    daemon.cli("attach", "red", "--tap", "guest0", "--portgroup", "slow")
    assert ([("8388Kbit", "8388Kbit")], ["256 kbytes/second"]) == limits(host, "guest0")
    daemon.restart()
    assert ([("8388Kbit", "8388Kbit")], ["256 kbytes/second"]) == limits(host, "guest0")
    host.guest("anna")
    refused = daemon.cli(
        *("attach", "red", "--netns", "anna", "--ifname", "eth0", "--portgroup", "slow"),
        check=False,
    )
    assert 0 != refused.returncode
    assert "a macvlan inside a guest's namespace is the guest's" in refused.stderr
    assert ["guest0"] == [port["device"] for port in daemon.cli("ports", json=True)]
    assert {"lo", "eth1", "guest0"} == host.links()
    daemon.cli("detach", "guest0")
    assert [] == host.tables()


@contextlib.contextmanager
def client_of(host: Host) -> Iterator[RawClient]:
    """Give a client of libvirt's protocol: what libvirt's QEMU driver is."""
    with RawClient(host.file(RUN_DIR) / "libvirt-sock") as client:
        yield client.open()


def create_port(client: RawClient, number: int, bandwidth: str) -> None:
    """Create a client's port for the guest of that number."""
    text = (
        f"<networkport><uuid>{PORT.format(number)}</uuid><owner><name>guest{number}</name>"
        f"<uuid>{PORT.format(50 + number)}</uuid></owner><mac address='{MACS[number]}'/>"
        f"<bandwidth>{bandwidth}</bandwidth></networkport>"
    )
    client.call("port_create", client.lookup("red"), text, 0)


def reference(client: RawClient, number: int) -> PortRef:
    """Return the client's name for the port that it created for a guest."""
    return PortRef(client.lookup("red"), UUID(PORT.format(number)))


def limit(client: RawClient, port: PortRef, **values: int) -> None:
    """Do what ``virsh domiftune`` does: ``inbound_floor=100``."""
    parameters = [
        Parameter(name.replace("_", "."), ParameterType.UINT, value)
        for name, value in values.items()
    ]
    client.call("port_set_parameters", port, parameters, 0)


def whole(average: int, peak: int) -> str:
    """Return the network with so much for its guests together."""
    return document(f"<bandwidth><inbound average='{average}' peak='{peak}'/></bandwidth>")


def test_a_promised_rate(host: Host, daemon: Daemon) -> None:
    """Guests of libvirt's clients, and ours, have what they were promised until they go."""
    apply(daemon, whole(1000, 2000))
    assert {"1": (1000, 2000), "2": (1000, 2000)} == guaranteed(host, "red0")
    with client_of(host) as client:
        create_port(client, 1, "<inbound average='500' floor='300'/>")
        create_port(client, 2, "<inbound floor='100'/>")
        create_port(client, 3, "<inbound average='500'/>")
        both = {"1": (1000, 2000), "2": (600, 2000), "3": (300, 2000), "4": (100, 2000)}
        assert both == guaranteed(host, "red0")
        daemon.restart()
        assert both == guaranteed(host, "red0")

    with client_of(host) as client:
        # As virsh domiftune: more for one, a first promise to another, none for the third.
        limit(client, reference(client, 1), inbound_average=500, inbound_floor=400)
        limit(client, reference(client, 2), inbound_average=500)
        limit(client, reference(client, 3), inbound_average=500, inbound_floor=50)
        tuned = {"1": (1000, 2000), "2": (550, 2000), "3": (400, 2000), "4": (50, 2000)}
        assert tuned == guaranteed(host, "red0")
        with pytest.raises(Refused, match="cannot guarantee floor='1951'"):
            limit(client, reference(client, 2), inbound_floor=1951)
        assert tuned == guaranteed(host, "red0")

    daemon.kill9()
    host.run(["tc", "qdisc", "del", "dev", "red0", "root"])
    daemon.start()
    assert tuned == guaranteed(host, "red0")
    daemon.cli("stop", "red")
    daemon.cli("start", "red")
    assert tuned == guaranteed(host, "red0")

    apply(daemon, whole(3000, 4000))
    assert {"1": (3000, 4000), "2": (2550, 4000), "3": (400, 4000), "4": (50, 4000)} == guaranteed(
        host, "red0"
    )
    refused = daemon.cli("apply", daemon.document(document()), check=False)
    assert 0 != refused.returncode
    assert "450 KiB/s are promised to its ports" in refused.stderr

    # While the network is down what is promised can change as well.
    daemon.cli("stop", "red")
    with client_of(host) as client:
        limit(client, reference(client, 1), inbound_average=500)
        client.call("port_delete", reference(client, 2), 0)
    daemon.cli("start", "red")
    assert {"1": (3000, 4000), "2": (2950, 4000), "4": (50, 4000)} == guaranteed(host, "red0")
    with client_of(host) as client:
        client.call("port_delete", reference(client, 3), 0)
        client.call("port_delete", reference(client, 1), 0)
    assert {"1": (3000, 4000), "2": (3000, 4000)} == guaranteed(host, "red0")
    assert [] == daemon.cli("ports", json=True)


def test_a_promise_is_kept(host: Host, daemon: Daemon) -> None:
    """While both want more than there is, the guest with the promise has most of it."""
    apply(daemon, whole(1000, 1000))
    anna = plug(daemon, host, "anna", 2)
    bert = plug(daemon, host, "bert", 3)
    for guest in (anna, bert):
        assert ping(guest, "10.0.0.1", tries=5) is not None
    (port,) = (port for port in daemon.cli("ports", json=True) if port["mac"] == anna.mac())
    with client_of(host) as client:
        limit(client, PortRef(client.lookup("red"), UUID(port["uuid"])), inbound_floor=800)
    assert {"1": (1000, 1000), "2": (200, 1000), "3": (800, 1000)} == guaranteed(host, "red0")
    sure, other = transfers([(host, anna, "10.0.0.2"), (host, bert, "10.0.0.3")], SECONDS)
    assert sure > 2 * other
    assert sure + other < 2 * 1000 * 1024 * SECONDS
    daemon.cli("detach", "anna")
    assert {"1": (1000, 1000), "2": (1000, 1000)} == guaranteed(host, "red0")


def test_limits_of_our_own_ports_are_changed(host: Host, daemon: Daemon) -> None:
    """Whose device we make, we limit anew: more, in one direction only, and not at all."""
    apply(daemon, document(SLOW))
    anna = plug(daemon, host, "anna", 2, "--portgroup", "slow")
    link = device(daemon, "anna")
    (port,) = daemon.cli("ports", json=True)
    with client_of(host) as client:
        ours = PortRef(client.lookup("red"), UUID(port["uuid"]))
        limit(client, ours, inbound_average=512, outbound_average=1024)
        assert ([("4194Kbit", "4194Kbit")], ["1024 kbytes/second"]) == mebibytes(host, link)
        limit(client, ours, outbound_average=512)
        assert ([], ["512 kbytes/second"]) == limits(host, link)
        daemon.cli("stop", "red")
        limit(client, ours, inbound_average=512)
        assert ([("4194Kbit", "4194Kbit")], []) == limits(host, link)
        limit(client, ours)
        assert ([], []) == limits(host, link)
    assert [] == host.tables()
    daemon.restart()
    daemon.cli("start", "red")
    assert ping(anna, "10.0.0.1", tries=5) is not None
    daemon.cli("detach", "anna")
    assert {"lo", "red0"} == host.links()


def test_settings_follow_their_portgroup(host: Host, daemon: Daemon) -> None:
    """What a portgroup or network gives otherwise, ports that are plugged in have, and plans say.

    Not what was set for a port alone, and not ports whose device its client has made.
    """
    other = SLOW.replace(f"'{AVERAGE}'", "'512'")
    apply(daemon, document(SLOW))
    plug(daemon, host, "anna", 2, "--portgroup", "slow")
    plug(daemon, host, "bert", 3, "--portgroup", "slow")
    plug(daemon, host, "carl", 4)
    anna, bert, carl = (device(daemon, name) for name in ("anna", "bert", "carl"))
    ports = daemon.cli("ports", json=True)
    (mine,) = (port["uuid"] for port in ports if port["device"] == bert)
    with client_of(host) as client:
        ours = PortRef(client.lookup("red"), UUID(mine))
        limit(client, ours, inbound_average=1024)
        text = (
            f"<networkport><uuid>{PORT.format(1)}</uuid><owner><name>dora</name>"
            f"<uuid>{PORT.format(51)}</uuid></owner><mac address='{MACS[1]}'/>"
            "<group>slow</group></networkport>"
        )
        client.call("port_create", client.lookup("red"), text, 0)
    # As its client would, which tells nobody of it.
    host.run(["ip", "tuntap", "add", "vnet0", "mode", "tap"])
    host.run(["ip", "link", "set", "vnet0", "address", f"fe{MACS[1][2:]}", "master", "red0"])
    former, fixed = limits(host, anna), limits(host, bert)
    assert ([("8388Kbit", "8388Kbit")], []) == fixed

    def planned() -> list[tuple[str, str]]:
        steps = daemon.cli("plan", "red", json=True)["steps"]
        return [(step["action"], step["key"].split(":")[0]) for step in steps]

    daemon.cli("define", daemon.document(document(other)))
    assert former == limits(host, anna)
    due = [("change", "policing"), ("change", "shaping"), ("keep", "port")]
    assert due == sorted(planned())
    said = daemon.cli("apply", "red")
    assert "= port dora keeps its former settings: its client has made its device" in said
    behind = "1 port with former settings (see `jackfield ports`)"
    keeps = "keeps former settings (bandwidth): its guest has the new ones when it is started anew"
    assert behind == problem(daemon)
    assert {"anna": None, "bert": None, "carl": None, "dora": keeps} == problems(daemon)
    assert ([("4194Kbit", "4194Kbit")], ["512 kbytes/second"]) == limits(host, anna)
    assert fixed == limits(host, bert)
    assert [] == planned()
    # The other way round, by a partial update, and once more without limits.
    group = "<portgroup name='slow'><bandwidth><outbound average='128'/></bandwidth></portgroup>"
    with client_of(host) as client:
        red = client.lookup("red")
        client.call("network_update", red, Command.MODIFY, Section.PORTGROUP, -1, group, 3)
    assert ([], ["128 kbytes/second"]) == limits(host, anna)
    daemon.restart()
    assert ([], ["128 kbytes/second"]) == limits(host, anna)
    assert fixed == limits(host, bert)
    assert "mended" not in daemon.log_text()
    assert (behind, keeps) == (problem(daemon), problems(daemon)["dora"])
    alone = "<portgroup name='slow'/><port isolated='yes'/>"
    daemon.cli("define", daemon.document(document(alone)))
    assert ("remove", "policing") in planned()
    daemon.cli("apply", "red")
    assert ([], []) == limits(host, anna)
    for link in (anna, bert, carl):
        (shown,) = json.loads(host.run(["bridge", "-d", "-j", "link", "show", "dev", link]).stdout)
        assert shown["isolated"] is True
    # A stopped network's follow when it starts.
    daemon.cli("stop", "red")
    daemon.cli("define", daemon.document(document(SLOW)))
    daemon.cli("start", "red")
    assert former == limits(host, anna)
    assert fixed == limits(host, bert)
    # They are what the client's port has, until they change again, also while nothing runs.
    assert ("", None) == (problem(daemon), problems(daemon)["dora"])
    daemon.cli("stop", "red")
    daemon.cli("define", daemon.document(document(other)))
    daemon.cli("start", "red")
    assert (behind, keeps) == (problem(daemon), problems(daemon)["dora"])
    # A portgroup that is no more gives nothing, and nobody is to believe that it did.
    daemon.cli("define", daemon.document(document()))
    due = [("keep", "port")] * 3
    assert due == planned()
    said = daemon.cli("apply", "red")
    for name in ("anna", "bert", "dora"):
        assert f"= port {name} keeps its former settings: its portgroup 'slow' is no more" in said
        assert "(its portgroup 'slow' is no more)" in (problems(daemon)[name] or "")
    assert problems(daemon)["carl"] is None
    assert behind.replace("1 port", "3 ports") == problem(daemon)
    assert due == planned()
    assert "lacks" not in daemon.cli("doctor", "red", check=False).stdout
    daemon.restart()
    assert behind.replace("1 port", "3 ports") == problem(daemon)
    # One that dies just after a change has not written down what ports keep.
    daemon.kill9()
    forget = "UPDATE ports SET device = json_remove(device, '$.former')"
    forget += " WHERE realiser = 'jackfield'"
    program = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])"
    host.run([sys.executable, "-c", program, f"{daemon.state_dir}/jackfield.db", forget])
    daemon.start()
    assert behind.replace("1 port", "3 ports") == problem(daemon)
    daemon.cli("apply", daemon.document(document(other)))
    assert {"anna": None, "bert": None, "carl": None, "dora": keeps} == problems(daemon)
    with client_of(host) as client:
        theirs = PortRef(client.lookup("red"), UUID(PORT.format(1)))
        client.call("port_delete", theirs, 0)
    assert "" == problem(daemon)
    more = behind.replace("1 port", "3 ports")
    assert [behind, behind, more] == [event["detail"]["problem"] for event in told(daemon)]


def mebibytes(host: Host, link: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the limits of a link, in KiB/s where nft says MiB/s."""
    leaving, coming = limits(host, link)
    return leaving, [words.replace("1 mbytes", "1024 kbytes") for words in coming]


def test_a_promise_needs_something_to_divide(host: Host, daemon: Daemon, lan: Lan) -> None:
    """Without a rate of the network, or where its frames pass the host by, nothing is promised."""
    apply(daemon, document())
    with client_of(host) as client, pytest.raises(Refused, match="has no inbound QoS set"):
        create_port(client, 1, "<inbound floor='800'/>")
    lan.plug(host, "eth1")
    daemon.cli("stop", "red")
    daemon.cli("undefine", "red")
    apply(daemon, over_uplink())
    with client_of(host) as client, pytest.raises(Refused, match="has no inbound QoS set"):
        create_port(client, 1, "<inbound floor='800'/>")
    assert [] == daemon.cli("ports", json=True)


def heard(listener: Namespace, speaker: Namespace, interface: str, target: str) -> bool:
    """Tell whether a frame of the speaker's to ``target`` gets to the listener's eth0.

    A broadcast sent after it gets everywhere, so nothing is waited for that does not come.
    """
    kind = 0x88B5
    with (
        listener.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind)) as ear,
        speaker.socket(socket.AF_PACKET, socket.SOCK_RAW) as mouth,
    ):
        ear.bind(("eth0", kind))
        # The guest's own NIC must show frames that are not its own.
        ear.setsockopt(263, 1, (socket_index(listener)).to_bytes(4, "little") + b"\1\0" + bytes(10))
        ear.settimeout(5)
        mouth.bind((interface, 0))
        (source,) = speaker.ip("link", "show", "dev", interface)
        own = bytes.fromhex(source["address"].replace(":", ""))
        for one in (target, "ff:ff:ff:ff:ff:ff"):
            mouth.send(bytes.fromhex(one.replace(":", "")) + own + b"\x88\xb5" + bytes(50))
        first = ear.recv(2000)
    return first[:6] == bytes.fromhex(target.replace(":", ""))


def socket_index(namespace: Namespace) -> int:
    """Return the index of eth0."""
    (link,) = namespace.ip("link", "show", "dev", "eth0")
    return int(link["ifindex"])


UNKNOWN = "52:54:00:99:99:99"


def flags(host: Host, link: str) -> tuple[bool, bool, bool]:
    """Return whether a port is isolated, learns, and is flooded with what nobody is known for."""
    (found,) = json.loads(host.run(["bridge", "-d", "-j", "link", "show", "dev", link]).stdout)
    return found["isolated"], found["learning"], found["flood"]


def entries(host: Host, link: str) -> dict[str, str]:
    """Return the addresses that lead to a port, with their states; not its own."""
    found: list[dict[str, Any]] = json.loads(
        host.run(["bridge", "-j", "fdb", "show", "brport", link]).stdout
    )
    return {item["mac"]: item["state"] for item in found if item["state"] != "permanent"}


def test_isolated_ports(host: Host, daemon: Daemon) -> None:
    """Isolated guests do not see what is for nobody known, and are known before they speak."""
    group = "<portgroup name='apart'><port isolated='yes'/></portgroup>"
    apply(daemon, document(group))
    anna = plug(daemon, host, "anna", 2, "--portgroup", "apart")
    bert = plug(daemon, host, "bert", 3)
    carl = plug(daemon, host, "carl", 4, "--portgroup", "apart")
    link = device(daemon, "anna")
    assert (True, True, False) == flags(host, link)
    assert {anna.mac(): "static"} == entries(host, link)
    assert (False, True, True) == flags(host, device(daemon, "bert"))

    assert heard(bert, host, "red0", UNKNOWN)
    assert not heard(anna, host, "red0", UNKNOWN)
    assert not heard(anna, bert, "eth0", UNKNOWN)
    # Anna has not said a word yet.
    assert heard(anna, host, "red0", anna.mac())
    assert heard(anna, bert, "eth0", anna.mac())
    assert ping(host, "10.0.0.2", tries=5) is not None
    assert ping(bert, "10.0.0.2", tries=5) is not None
    assert ping(carl, "10.0.0.2", timeout=0.3) is None

    daemon.cli("stop", "red")
    daemon.cli("start", "red")
    assert (True, True, False) == flags(host, link)
    assert {anna.mac(): "static"} == entries(host, link)


def test_addresses_that_are_entered_and_not_learned(host: Host, daemon: Daemon) -> None:
    """With macTableManager='libvirt' a bridge knows its guests by what it is told."""
    apply(daemon, document(bridge="macTableManager='libvirt'"))
    anna = plug(daemon, host, "anna", 2)
    bert = plug(daemon, host, "bert", 3)
    link = device(daemon, "anna")
    assert (False, False, False) == flags(host, link)
    assert {anna.mac(): "static"} == entries(host, link)
    assert not heard(anna, bert, "eth0", UNKNOWN)
    assert heard(anna, bert, "eth0", anna.mac())
    assert ping(anna, "10.0.0.3", tries=5) is not None

    # The tap of a client, which enters the address itself, as libvirt's QEMU driver does.
    host.ip("link", "add", "vnet0", "type", "veth", "peer", "name", "inside")
    host.ip("link", "set", "vnet0", "up", "master", "red0")
    host.run(["bridge", "link", "set", "dev", "vnet0", "learning", "off", "flood", "off"])
    host.run(["bridge", "fdb", "add", MACS[1], "dev", "vnet0", "master", "static"])
    daemon.cli("stop", "red")
    assert {} == entries(host, "vnet0")
    daemon.cli("start", "red")
    assert (False, False, False) == flags(host, "vnet0")
    assert {MACS[1]: "static"} == entries(host, "vnet0")
    assert {anna.mac(): "static"} == entries(host, link)
    daemon.cli("detach", "anna")
    assert link not in host.links()


def test_vlans_need_a_kernel_that_filters_them(host: Host, daemon: Daemon) -> None:
    """Where the kernel cannot, the network runs, and its tagged ports are refused by that name."""
    group = "<portgroup name='tagged'><vlan><tag id='42'/></vlan></portgroup>"
    wrong = "<portgroup name='wrong'><vlan><tag id='4095'/></vlan></portgroup>"
    apply(daemon, document(group + wrong))
    refused = daemon.cli("attach", "red", "--tap", "t1", "--portgroup", "wrong", check=False)
    assert "cannot be in VLAN 4095" in refused.stderr
    host.guest("anna")
    words = ("attach", "red", "--netns", "anna", "--ifname", "eth0", "--portgroup", "tagged")
    (bridge,) = host.ip("-d", "link", "show", "dev", "red0")
    if "vlan_protocol" in bridge["linkinfo"]["info_data"]:
        daemon.cli(*words)
        assert 1 == bridge["linkinfo"]["info_data"]["vlan_filtering"]
        link = device(daemon, "anna")
        (found,) = json.loads(host.run(["bridge", "-j", "vlan", "show", "dev", link]).stdout)
        assert [{"vlan": 42, "flags": ["PVID", "Egress Untagged"]}] == found["vlans"]
    else:
        refused = daemon.cli(*words, check=False)
        assert 0 != refused.returncode
        assert "red0: the kernel cannot filter VLANs on bridges" in refused.stderr
        assert "CONFIG_BRIDGE_VLAN_FILTERING" in refused.stderr
        assert {"lo", "red0"} == host.links()
        assert [] == daemon.cli("ports", json=True)


def test_mtu(host: Host, daemon: Daemon) -> None:
    """Both ends of a guest's wire have the network's MTU."""
    apply(daemon, document("<mtu size='1400'/>"))
    anna = plug(daemon, host, "anna", 2)
    assert 1400 == host.ip("link", "show", "dev", device(daemon, "anna"))[0]["mtu"]
    assert 1400 == anna.ip("link", "show", "dev", "eth0")[0]["mtu"]


def test_an_mtu_that_changes(host: Host, daemon: Daemon) -> None:
    """Ports follow their running network at both ends, and a stopped one when it starts."""
    apply(daemon, document("<mtu size='1400'/>"))
    anna = plug(daemon, host, "anna", 2)
    bert = plug(daemon, host, "bert", 3)
    daemon.cli("attach", "red", "--tap", "tap0", "--name", "tap")
    ends = [device(daemon, name) for name in ("anna", "bert", "tap")]

    def mtus() -> list[int]:
        links = [host.link(name) for name in ("red0", *ends)] + [anna.link("eth0")]
        return [link["mtu"] for link in links if link is not None]

    def told(command: str) -> set[str]:
        """Return what is done to devices that get another MTU."""
        steps = daemon.cli(command, "red", json=True)["steps"]
        assert {"change"} >= {step["action"] for step in steps}
        found = {step["text"] for step in steps if step["key"].removeprefix("link:") in ends}
        return {text.partition(" (was: ")[2] for text in found}

    def planned() -> set[str]:
        """Return the devices that the plan of what is defined has another MTU."""
        steps = daemon.cli("plan", "red", json=True)["steps"]
        return {step["key"].removeprefix("link:") for step in steps if "change" == step["action"]}

    assert [1400] * 5 == mtus()
    for former, size in ((1400, 3000), (3000, 1300)):
        daemon.cli("define", daemon.document(document(f"<mtu size='{size}'/>")))
        assert {"red0", *ends} == planned() & {"red0", *ends}
        steps = told("plan")
        assert 3 == len(steps)
        assert {f"mtu {former})"} == {text.rpartition(", ")[2] for text in steps}
        assert steps == told("apply")
        assert [size] * 5 == mtus()
        assert set() == planned()
    # What a guest has chosen for itself is the guest's.
    bert.run(["ip", "link", "set", "eth0", "mtu", "1280"])
    daemon.cli("define", daemon.document(document("")))
    assert {"red0", *ends} == planned() & {"red0", *ends}
    daemon.cli("apply", "red")
    assert [1500] * 5 == mtus()
    assert set() == planned()
    assert 1280 == (bert.link("eth0") or {})["mtu"]
    daemon.restart()
    assert [1500] * 5 == mtus()
    assert "mended" not in daemon.log_text()
    daemon.cli("stop", "red")
    daemon.cli("define", daemon.document(document("<mtu size='1350'/>")))
    daemon.cli("start", "red")
    assert [1350] * 5 == mtus()
    daemon.cli("stop", "red")
    daemon.cli("define", daemon.document(document("")))
    daemon.cli("start", "red")
    assert [1500] * 5 == mtus()
    assert {"steps": []} == daemon.cli("plan", "red", json=True)


def test_an_mtu_that_ipv6_does_not_fit(host: Host, daemon: Daemon) -> None:
    """Such links have no IPv6 at all; with a larger MTU they are kept from it as others are."""
    apply(daemon, document("<mtu size='1279'/>"))
    plug(daemon, host, "anna", 2)
    daemon.cli("attach", "red", "--tap", "tap0")
    links = ["red0", "tap0", device(daemon, "anna")]

    def kept_from_ipv6() -> list[str]:
        found = (Path(f"/proc/sys/net/ipv6/conf/{link}/disable_ipv6") for link in links)
        with host.entered():
            return [path.read_text().strip() for path in found if path.exists()]

    assert [] == kept_from_ipv6()
    for size in (1500, 576):
        daemon.cli("define", daemon.document(document(f"<mtu size='{size}'/>")))
        planned = {step["text"] for step in daemon.cli("plan", "red", json=True)["steps"]}
        applied = {step["text"] for step in daemon.cli("apply", "red", json=True)["steps"]}
        assert planned == applied
        assert (["1"] * 3 if size == 1500 else []) == kept_from_ipv6()
        assert {"steps": []} == daemon.cli("plan", "red", json=True)
    daemon.cli("stop", "red")
    daemon.cli("start", "red")
    assert {"steps": []} == daemon.cli("plan", "red", json=True)


def test_a_kernel_without_ipv6(host: Host, daemon: Daemon) -> None:
    """A host that was started with ipv6.disable=1 has networks of IPv4."""
    host.run(["mount", "-t", "tmpfs", "none", "/proc/sys/net/ipv6"])
    apply(daemon, document())
    anna = plug(daemon, host, "anna", 2)
    daemon.cli("attach", "red", "--tap", "tap0")
    assert ping(anna, "10.0.0.1")
    assert {"steps": []} == daemon.cli("plan", "red", json=True)


def test_an_mtu_that_could_not_be_given(host: Host, daemon: Daemon) -> None:
    """A change that fails is undone as a whole."""
    apply(daemon, document("<dns enable='no'/>"))
    hold = "import socket as s, time; a = s.socket(2, 2); a.bind(('', 53)); time.sleep(99)"
    host.start([sys.executable, "-c", hold])
    wait_for(lambda: ":53 " in host.run(["ss", "-nul"]).stdout, 5, "the port to be taken")
    path = daemon.document(document("<mtu size='1400'/>"))
    assert "port 53" in daemon.cli("apply", path, check=False).stderr
    assert 1500 == (host.link("red0") or {})["mtu"]


def test_an_mtu_that_is_taken_out(host: Host, daemon: Daemon) -> None:
    """The bridge of a running network has what a new one has, and the plan says what it had."""

    def mtu() -> int:
        return int(host.ip("link", "show", "dev", "red0")[0]["mtu"])

    for size in (1400, 9000):
        apply(daemon, document(f"<mtu size='{size}'/>"))
        assert size == mtu()
        daemon.cli("define", daemon.document(document("")))
        steps = daemon.cli("plan", "red", json=True)["steps"]
        (text,) = (step["text"] for step in steps if "bridge" == step["kind"])
        assert f"mtu {size}" in text
        daemon.cli("apply", "red")
        assert 1500 == mtu()
        assert {"steps": []} == daemon.cli("plan", "red", json=True)
    daemon.cli("apply", "red")
    daemon.restart()
    assert 1500 == mtu()


def test_a_foreign_queue_in_the_way_of_a_bandwidth(host: Host, daemon: Daemon) -> None:
    """A change that needs its place is refused by name, and changes nothing; others go on."""
    apply(daemon, whole(1000, 2000))
    host.run(["tc", "qdisc", "replace", "dev", "red0", "root", "handle", "7:", "pfifo"])
    before = daemon.cli("show", "red")
    changed = whole(2000, 4000).replace("10.0.0.1", "10.0.0.9")
    refused = daemon.cli("apply", daemon.document(changed), check=False)
    assert 5 == refused.returncode
    assert "qdisc pfifo 7: on bridge red0" in refused.stderr
    assert "tc qdisc del dev red0 root" in refused.stderr
    assert before == daemon.cli("show", "red")
    (link,) = host.ip("address", "show", "dev", "red0")
    assert ["10.0.0.1"] == [item["local"] for item in link["addr_info"]]
    # Who wants no bandwidth is in nobody's way.
    apply(daemon, document())
    daemon.cli("apply", "red")
    assert "qdisc pfifo 7: root" in host.run(["tc", "qdisc", "show", "dev", "red0"]).stdout
    host.run(["tc", "qdisc", "del", "dev", "red0", "root"])
    apply(daemon, changed)
    assert "qdisc htb 4a46: root" in host.run(["tc", "qdisc", "show", "dev", "red0"]).stdout


@pytest.mark.parametrize("trusted", [False, True])
def test_guests_whose_groups_are_trusted(
    host: Host, lan: Lan, daemon: Daemon, trusted: bool
) -> None:
    """A macvtap lets multicast in where its guest's filters are trusted: nobody tells us which."""
    lan.plug(host, "eth1")
    attributes = "trustGuestRxFilters='yes'" if trusted else ""
    apply(daemon, over_uplink(attributes=attributes))
    daemon.cli("attach", "red", "--tap", "guest0")
    seen = "ALLMULTI" in host.ip("link", "show", "dev", "guest0")[0]["flags"]
    assert trusted is seen
    daemon.restart()
    assert trusted is ("ALLMULTI" in host.ip("link", "show", "dev", "guest0")[0]["flags"])
    # When the network says otherwise, the macvtap that is there does.
    other = "" if trusted else "trustGuestRxFilters='yes'"
    daemon.cli("define", daemon.document(over_uplink(attributes=other)))
    (step,) = daemon.cli("plan", "red", json=True)["steps"]
    assert ("change", "link:guest0") == (step["action"], step["key"])
    daemon.cli("apply", "red")
    assert trusted is not ("ALLMULTI" in host.ip("link", "show", "dev", "guest0")[0]["flags"])
