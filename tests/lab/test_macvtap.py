"""Ports right on uplinks: what each mode promises, pools of uplinks, and what is left behind.

::

    a, b (guests) ── macvlan or macvtap ── eth1, eth2, eth3 of the host
                                             │     │     │
                              outside ────── LAN (a switch; its ports may reflect: hairpin)
"""

from __future__ import annotations

import concurrent.futures
import json
import sys
from collections import Counter
from typing import Any

import pytest

from jackfield.client import Client
from jackfield.errors import JackfieldError
from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.guest import Guest
from tests.lab.host import Host
from tests.lab.packets import ping
from tests.lab.switch import Lan, add_address
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

OUTSIDE = "192.0.2.1"
NOBODY = 65534

# What a program without privileges does with a macvtap's node: opens QUEUES of it, and asks by
# ARP (RFC 826) who has 192.0.2.1; prints the hardware address in the answer.
TAP_USER = """
import fcntl, os, select, struct, sys
path, queues, mac = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_MULTI_QUEUE = 0x400454CA, 2, 0x1000, 0x100
files = []
for _ in range(queues):
    file = os.open(path, os.O_RDWR)
    flags = IFF_TAP | IFF_NO_PI | (IFF_MULTI_QUEUE if queues > 1 else 0)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH14x", b"", flags))
    files.append(file)
body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + bytes([192, 0, 2, 77])
body += bytes(6) + bytes([192, 0, 2, 1])
os.write(files[0], b"\\xff" * 6 + mac + b"\\x08\\x06" + body.ljust(46, b"\\0"))
while True:
    ready, _, _ = select.select(files, [], [], 10)
    if not ready:
        sys.exit("no answer")
    frame = os.read(ready[0], 2000)
    if frame[12:14] == b"\\x08\\x06" and frame[20:22] == b"\\0\\x02":
        print(os.getuid(), frame[22:28].hex(":"))
        break
"""


def document(mode: str, *uplinks: str, more: str = "") -> str:
    """Return a network over these uplinks."""
    pool = "".join(f"<interface dev='{name}'/>" for name in uplinks)
    return f"<network><name>red</name><forward mode='{mode}'>{pool}</forward>{more}</network>"


def begin(daemon: Daemon, text: str) -> None:
    """Define and start a network."""
    daemon.cli("apply", daemon.document(text))


def plug_in(daemon: Daemon, host: Host, name: str, address: str) -> Guest:
    """Make a guest in a namespace, with an address and without IPv6."""
    guest = host.guest(name)
    guest.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1")
    daemon.cli("attach", "red", "--netns", name, "--ifname", "eth0")
    add_address(guest, "eth0", address)
    return guest


def told(daemon: Daemon) -> list[dict[str, Any]]:
    """Return all events so far."""
    lines = daemon.cli("events", "--no-follow", "--since", "0", "--json").splitlines()
    return [json.loads(line) for line in lines]


def reaches(one: Guest | Host, address: str) -> bool:
    """Tell whether a ping is answered; one that should be is tried again."""
    return ping(one, address, timeout=0.4, tries=3) is not None


def is_up(host: Host, link: str) -> bool:
    """Tell whether a link is administratively up."""
    (found,) = host.ip("link", "show", "dev", link)
    return "UP" in found["flags"]


def shows(mode: str) -> pytest.MarkDecorator:
    """Mark a test that shows a mode with guests in namespaces."""
    return pytest.mark.shows(mode, "guests in namespaces")


def test_a_device_that_its_guest_renames(host: Host, lan: Lan, daemon: Daemon) -> None:
    """It is the guest's to rename; it is known all the same, and goes with its port."""
    lan.plug(host, "eth1")
    begin(daemon, document("bridge", "eth1"))
    guest = plug_in(daemon, host, "a", "192.0.2.21/24")
    guest.run(["ip", "link", "set", "eth0", "down"])
    guest.run(["ip", "link", "set", "eth0", "name", "wan0"])
    # And what has its name then is not taken for it.
    guest.run(["ip", "link", "add", "eth0", "type", "bridge"])
    daemon.restart()
    assert {"lo", "wan0", "eth0"} == guest.links()
    assert {"steps": []} == daemon.cli("plan", "red", json=True)
    assert [] == [entry for entry in daemon.log() if entry["level"] in {"warning", "error"}]
    daemon.cli("detach", "a")
    assert {"lo", "eth0"} == guest.links()


@pytest.fixture
def uplinks(host: Host, lan: Lan, outside: Host) -> dict[str, str]:
    """Plug three NICs of the host into the LAN; return the switch's ports by their names."""
    assert outside.name == "outside"
    ports = {}
    for name in ("eth1", "eth2", "eth3"):
        ports[name] = lan.plug(host, name)
        host.set_sysctl(f"net/ipv6/conf/{name}/disable_ipv6", "1")
    return ports


@pytest.mark.parametrize(
    ("mode", "hairpin", "guests", "host_and_guest"),
    [
        pytest.param("bridge", False, True, False, marks=shows("macvtap-bridge")),
        pytest.param("bridge", True, True, True, marks=shows("macvtap-bridge")),
        pytest.param("vepa", False, False, False, marks=shows("vepa")),
        pytest.param("vepa", True, True, True, marks=shows("vepa")),
        pytest.param("private", False, False, False, marks=shows("private")),
        pytest.param("private", True, False, True, marks=shows("private")),
    ],
)
def test_who_reaches_whom(
    host: Host,
    lan: Lan,
    daemon: Daemon,
    uplinks: dict[str, str],
    mode: str,
    hairpin: bool,
    guests: bool,
    host_and_guest: bool,
) -> None:
    """Everybody reaches the LAN; each other and the host as the mode and the switch have it."""
    add_address(host, "eth1", "192.0.2.10/24")
    flag = "on" if hairpin else "off"
    lan.namespace.run(["bridge", "link", "set", "dev", uplinks["eth1"], "hairpin", flag])
    begin(daemon, document(mode, "eth1"))
    a = plug_in(daemon, host, "a", "192.0.2.21/24")
    b = plug_in(daemon, host, "b", "192.0.2.22/24")

    assert reaches(a, OUTSIDE)
    assert reaches(b, OUTSIDE)
    assert guests == reaches(a, "192.0.2.22")
    assert host_and_guest == reaches(a, "192.0.2.10")

    daemon.cli("detach", "a")
    daemon.cli("detach", "b")
    assert {"lo", "eth1", "eth2", "eth3"} == host.links()
    assert a.links() == {"lo"}


@shows("passthrough")
def test_passthrough_has_the_uplink_and_gives_it_back(
    host: Host, daemon: Daemon, uplinks: dict[str, str]
) -> None:
    """The uplink has the guest's address and is up while it has the guest, and not after."""
    before = host.mac("eth1")
    host.run(["ip", "link", "set", "eth1", "down"])
    host.run(["ip", "link", "set", "eth2", "down"])
    begin(daemon, document("passthrough", "eth1", "eth2"))
    a = plug_in(daemon, host, "a", "192.0.2.21/24")
    b = plug_in(daemon, host, "b", "192.0.2.22/24")

    assert (a.mac(), b.mac()) == (host.mac("eth1"), host.mac("eth2"))
    wait_for(lambda: ping(a, OUTSIDE) is not None, 5, "the uplink's carrier")
    assert reaches(a, "192.0.2.22")
    host.guest("c")
    refused = daemon.cli("attach", "red", "--netns", "c", "--ifname", "eth0", check=False)
    assert refused.returncode != 0
    assert "eth1 1/1" in refused.stderr
    assert "eth2 1/1" in refused.stderr

    daemon.restart()
    assert a.mac() == host.mac("eth1")
    daemon.cli("detach", "a")
    assert (before, False) == (host.mac("eth1"), is_up(host, "eth1"))
    # What somebody else has set since is theirs.
    host.run(["ip", "link", "set", "eth2", "address", "52:54:00:99:99:99"])
    daemon.cli("detach", "b")
    assert ("52:54:00:99:99:99", False) == (host.mac("eth2"), is_up(host, "eth2"))


@pytest.mark.parametrize("queues", [1, 2])
def test_node_is_its_owners_alone(
    host: Host, outside: Host, daemon: Daemon, uplinks: dict[str, str], queues: int
) -> None:
    """A user without privileges opens the macvtap's node, and frames go out and come in."""
    begin(daemon, document("bridge", "eth1"))
    port = daemon.cli(
        *("attach", "red", "--tap", "guest0", "--owner", str(NOBODY)),
        *("--queues", str(queues)),
        json=True,
    )
    assert port["node"] == daemon.cli("ports", json=True)[0]["node"]
    node = host.file(port["node"]).stat()
    assert (0o600, NOBODY) == (node.st_mode & 0o777, node.st_uid)
    mac = port["mac"].replace(":", "")
    said = host.run(
        [
            *("setpriv", "--reuid", str(NOBODY), "--clear-groups"),
            *(sys.executable, "-c", TAP_USER, port["node"], str(queues), mac),
        ]
    )
    assert f"{NOBODY} {outside.mac('eth0')}\n" == said.stdout
    assert "1" == host.sysctl("net/ipv6/conf/guest0/disable_ipv6")

    daemon.cli("detach", "guest0")
    assert not host.file(port["node"]).exists()
    assert "guest0" not in host.links()


def test_pool(host: Host, lan: Lan, daemon: Daemon, uplinks: dict[str, str]) -> None:
    """Two hundred at once over three uplinks: no limit is exceeded, no dead uplink chosen."""
    lan.namespace.run(["ip", "link", "set", uplinks["eth3"], "down"])
    wait_for(lambda: "LOWER_UP" not in (host.link("eth3") or {})["flags"], 5, "no carrier")
    groups = (
        "<portgroup name='few' count='7'><interface dev='eth1'/></portgroup>"
        "<portgroup name='many' count='120'><interface dev='eth1'/><interface dev='eth2'/>"
        "<interface dev='eth3'/></portgroup>"
    )
    begin(daemon, document("bridge", "eth1", "eth2", "eth3", more=groups))
    client = Client(host.file(RUN_DIR))

    def attach(number: int) -> str:
        group = "few" if number % 10 == 0 else "many"
        body = {"tap": f"t{number}", "portgroup": group}
        try:
            client.request("POST", "/v1/networks/red/ports", body)
        except JackfieldError as error:
            return f"{group} is full" if f"portgroup '{group}'" in error.message else str(error)
        return group

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        made = Counter(pool.map(attach, range(200)))
    assert {"few": 7, "few is full": 13, "many": 120, "many is full": 60} == made
    used = Counter(port["plug"]["dev"] for port in daemon.cli("ports", json=True))
    assert {"eth1": 64, "eth2": 63} == used
    over = Counter(
        link["link"] for link in host.ip("link", "show") if link["ifname"].startswith("t")
    )
    assert used == over

    # One that comes back takes the new ones; those that are there stay where they are.
    lan.namespace.run(["ip", "link", "set", uplinks["eth3"], "up"])
    lan.namespace.run(["ip", "link", "set", uplinks["eth1"], "down"])
    wait_for(lambda: "LOWER_UP" in (host.link("eth3") or {})["flags"], 5, "the carrier")
    wait_for(lambda: "LOWER_UP" not in (host.link("eth1") or {})["flags"], 5, "no carrier")
    daemon.cli("detach", "t1")
    moved = daemon.cli("attach", "red", "--tap", "new", "--portgroup", "many", json=True)
    assert "eth3" == moved["plug"]["dev"]
    freed = Counter(port["plug"]["dev"] for port in daemon.cli("ports", json=True))
    assert 127 == freed.total()
    assert 1 == freed["eth3"]

    assert {"detached": 127} == daemon.cli("detach", "--network", "red", json=True)
    assert [] == daemon.cli("ports", json=True)
    assert {"lo", "eth1", "eth2", "eth3"} == host.links()
    assert 127 == sum(event["type"] == "port-detached" for event in told(daemon)) - 1


def test_uplink_that_is_a_bridges_is_named(
    host: Host, daemon: Daemon, uplinks: dict[str, str]
) -> None:
    """A NIC that is a port of a bridge cannot have macvtaps; the error says so."""
    host.run(["ip", "link", "add", "br0", "type", "bridge"])
    host.run(["ip", "link", "set", "eth1", "master", "br0"])
    begin(daemon, document("vepa", "eth1"))
    refused = daemon.cli("attach", "red", "--tap", "t0", check=False)
    assert refused.returncode != 0
    assert "eth1 is a port of bridge br0" in refused.stderr
    assert [] == daemon.cli("ports", json=True)
    assert "t0" not in host.links()


def test_namespace_that_has_the_name_already(
    host: Host, daemon: Daemon, uplinks: dict[str, str]
) -> None:
    """A macvlan that cannot get its name leaves nothing, here or there."""
    begin(daemon, document("bridge", "eth1"))
    a = host.guest("a")
    a.run(["ip", "link", "add", "eth0", "type", "bridge"])
    refused = daemon.cli("attach", "red", "--netns", "a", "--ifname", "eth0", check=False)
    assert refused.returncode != 0
    assert "eth0" in refused.stderr
    assert {"lo", "eth0"} == a.links()
    assert {"lo", "eth1", "eth2", "eth3"} == host.links()
