"""Kill -9 at every boundary: afterwards the host is as before the operation, or as after it.

guest in a namespace ─┐
                      ├─ virbr0 (NAT, IPv4 and IPv6, DHCP) ─ host ── eth0 ── LAN ── outside
tap ──────────────────┤                                      (or br0 over it)
VDE switch ───────────┘
eth1 ─ nowhere (the uplink of a macvtap network, down)
foreign: bridge br-other with an address, table inet other, net.ipv4.conf.lo.rp_filter
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jackfield.client import Client
from jackfield.errors import DaemonUnreachable
from jackfield.rpc.procedures import PortRef
from tests.lab.crash import (
    CrashingDaemon,
    Operation,
    answers,
    crash_everywhere,
    crash_twice,
)
from tests.lab.daemon import RUN_DIR
from tests.lab.dns import resolve
from tests.lab.host import Host
from tests.lab.packets import ping
from tests.lab.switch import Lan
from tests.lab.wait import wait_for
from tests.rpc.client import RawClient

pytestmark = pytest.mark.lab

UUID_OF_PORT = uuid.UUID(int=0x4D)
UUID = "6a1c0f6e-1f0c-4b8e-9a57-0d3f6f1b2c3d"
MAC = "52:54:00:aa:bb:01"


def document(
    *,
    end: int = 99,
    host: str = "printer",
    subnet: int = 122,
    mode: str = "nat",
    v6: str = "1",
    vde: str = "",
    guarded: bool = False,
) -> str:
    """Return a network's document."""
    forward = f"<forward mode='{mode}'/>" if mode else ""
    return f"""
    <network antiSpoofing='{"yes" if guarded else "no"}'>
      <name>red</name><uuid>{UUID}</uuid>
      {forward}
      <bridge name='virbr0' stp='off' delay='0'/>
      <mac address='52:54:00:0a:0b:0c'/>
      {vde}
      <dns><host ip='192.168.{subnet}.7'><hostname>{host}</hostname></host></dns>
      <ip address='192.168.{subnet}.1' prefix='24'>
        <dhcp>
          <range start='192.168.{subnet}.10' end='192.168.{subnet}.{end}'/>
          <host mac='52:54:00:00:00:07' name='{host}' ip='192.168.{subnet}.7'/>
        </dhcp>
      </ip>
      <ip family='ipv6' address='fd00:122:{v6}::1' prefix='64'/>
    </network>
    """


def define(client: Client, text: str) -> None:
    """Define a network."""
    client.request("POST", "/v1/networks", text)


def apply(client: Client, text: str) -> None:
    """Apply a document."""
    client.request("POST", "/v1/networks", text, query={"apply": "1"})


def start(client: Client) -> None:
    """Start the network."""
    client.request("POST", "/v1/networks/red/start")


def stop(client: Client) -> None:
    """Stop the network."""
    client.request("POST", "/v1/networks/red/stop")


def attach_netns(client: Client) -> None:
    """Plug the guest's namespace in."""
    body = {"netns": "guest", "ifname": "eth0", "mac": MAC, "name": "guest"}
    client.request("POST", "/v1/networks/red/ports", body)


def attach_tap(client: Client) -> None:
    """Plug a tap in."""
    body = {"tap": "tap0", "mac": MAC, "queues": 2, "owner": 65534, "name": "guest"}
    client.request("POST", "/v1/networks/red/ports", body)


def detach(client: Client) -> None:
    """Unplug what is plugged in."""
    client.request("DELETE", "/v1/ports/guest")


@pytest.fixture
def daemon(host: Host) -> Iterator[CrashingDaemon]:
    """Give a daemon that can be armed, on a host with things that are not ours."""
    for command in (
        "ip link add br-other type bridge",
        "sysctl -q -w net.ipv6.conf.br-other.accept_dad=0",
        "ip addr add 10.99.0.1/24 dev br-other",
        "ip link set br-other up",
        "ip link set br-other alias jackfield:network:but-not-ours",
        "nft add table inet other",
        "nft add chain inet other forward { type filter hook forward priority 0; policy accept; }",
        "nft add rule inet other forward iifname virbr9 drop",
    ):
        host.run(command.split())
    host.set_sysctl("net/ipv4/conf/lo/rp_filter", "2")
    host.guest("guest")
    with (
        tempfile.TemporaryDirectory(prefix="jackfield-") as state,
        CrashingDaemon(host, Path(state)) as jackfieldd,
    ):
        yield jackfieldd


def test_start(daemon: CrashingDaemon) -> None:
    """A start is whole or has not been."""
    define(daemon.client, document())
    acts = crash_everywhere(daemon, Operation(do=start, undo=stop))
    crash_twice(daemon, Operation(do=start, undo=stop), at=len(acts))


def test_stop(daemon: CrashingDaemon) -> None:
    """A stop is whole or has not been; the guest is plugged in again by the next start."""
    define(daemon.client, document())
    start(daemon.client)
    attach_netns(daemon.client)
    crash_everywhere(daemon, Operation(do=stop, undo=start))
    crash_twice(daemon, Operation(do=stop, undo=start), at=2)


VDE = "<vde group='audio'/>"


def attach_vde(client: Client) -> None:
    """Make a port at the network's switch."""
    client.request("POST", "/v1/networks/red/ports", {"vde": True, "mac": MAC, "name": "guest"})


def test_start_with_a_switch(daemon: CrashingDaemon) -> None:
    """A network and its VDE switch come together or not at all, and what is left is found."""
    daemon.host.open_tun()
    define(daemon.client, document(vde=VDE))
    acts = crash_everywhere(daemon, Operation(do=start, undo=stop))
    crash_twice(daemon, Operation(do=start, undo=stop), at=len(acts))


def test_stop_with_a_switch(daemon: CrashingDaemon) -> None:
    """They go together, and the switch's ports stay on record."""
    daemon.host.open_tun()
    define(daemon.client, document(vde=VDE))
    start(daemon.client)
    attach_vde(daemon.client)
    crash_everywhere(daemon, Operation(do=stop, undo=start))


def test_a_switch_comes_and_goes(daemon: CrashingDaemon) -> None:
    """A running network has its switch whole, or as before none; so have its ports."""
    daemon.host.open_tun()
    apply(daemon.client, document())
    with_switch = Operation(
        do=lambda client: apply(client, document(vde=VDE)),
        undo=lambda client: apply(client, document()),
    )
    crash_everywhere(daemon, with_switch)
    apply(daemon.client, document(vde=VDE))
    crash_everywhere(daemon, Operation(do=attach_vde, undo=detach))


def test_attach(daemon: CrashingDaemon) -> None:
    """A veth or a tap is plugged in whole, or not at all."""
    define(daemon.client, document())
    start(daemon.client)
    for attach in (attach_netns, attach_tap):
        acts = crash_everywhere(daemon, Operation(do=attach, undo=detach))
        crash_twice(daemon, Operation(do=attach, undo=detach), at=len(acts))


@pytest.mark.parametrize("attach", [attach_netns, attach_tap])
def test_detach(daemon: CrashingDaemon, attach: Callable[[Client], None]) -> None:
    """A port is there or is not; once half gone, the rest goes too."""
    define(daemon.client, document())
    start(daemon.client)
    attach(daemon.client)
    crash_everywhere(daemon, Operation(do=detach, undo=attach))


def test_attach_guarded(daemon: CrashingDaemon) -> None:
    """What the guest may send is made and removed with its port."""
    define(daemon.client, document(guarded=True))
    start(daemon.client)
    acts = crash_everywhere(daemon, Operation(do=attach_netns, undo=detach))
    crash_twice(daemon, Operation(do=attach_netns, undo=detach), at=len(acts))


def test_detach_guarded(daemon: CrashingDaemon) -> None:
    """The same when it goes."""
    define(daemon.client, document(guarded=True))
    start(daemon.client)
    attach_netns(daemon.client)
    crash_everywhere(daemon, Operation(do=detach, undo=attach_netns))


@pytest.mark.parametrize("guarded", [False, True])
def test_filter_is_applied(daemon: CrashingDaemon, guarded: bool) -> None:
    """Guards come to the ports that are there with the definition, and go with it."""
    apply(daemon.client, document(guarded=guarded))
    attach_netns(daemon.client)
    operation = Operation(
        do=lambda client: apply(client, document(guarded=not guarded)),
        undo=lambda client: apply(client, document(guarded=guarded)),
    )
    crash_everywhere(daemon, operation)


@pytest.fixture
def uplink(daemon: CrashingDaemon) -> str:
    """Start a network whose ports have an uplink for themselves; return its document."""
    host = daemon.host
    host.run(["ip", "link", "add", "eth1", "type", "veth", "peer", "name", "cable"])
    text = f"""
    <network>
      <name>red</name><uuid>{UUID}</uuid>
      <forward mode='passthrough'><interface dev='eth1'/></forward>
    </network>
    """
    apply(daemon.client, text)
    daemon.probe = lambda: [
        str({key: link[key] for key in ("ifname", "address", "flags")})
        for link in host.ip("-n", "guest", "link", "show")
    ]
    return text


@pytest.mark.parametrize("attach", [attach_netns, attach_tap])
def test_attach_to_uplink(
    daemon: CrashingDaemon, uplink: str, attach: Callable[[Client], None]
) -> None:
    """A macvlan or macvtap, its node, and the uplink's state and address: all or nothing."""
    acts = crash_everywhere(daemon, Operation(do=attach, undo=detach))
    crash_twice(daemon, Operation(do=attach, undo=detach), at=len(acts))


@pytest.mark.parametrize("attach", [attach_netns, attach_tap])
def test_detach_from_uplink(
    daemon: CrashingDaemon, uplink: str, attach: Callable[[Client], None]
) -> None:
    """The same when it goes."""
    attach(daemon.client)
    crash_everywhere(daemon, Operation(do=detach, undo=attach))


@pytest.mark.parametrize(
    "changed",
    [
        {"end": 50},
        {"host": "scanner"},
        {"subnet": 123, "v6": "2"},
        {"mode": "route"},
        {"mode": ""},
    ],
    ids=["range", "host", "subnet", "rules", "shared-settings"],
)
def test_apply(daemon: CrashingDaemon, changed: dict[str, Any]) -> None:
    """A change of a running network is whole or has not been.

    The range makes dnsmasq start anew, the host entry is told to it by a signal, the subnet
    changes addresses, rules and dnsmasq, and the mode rules and shared sysctls.
    """
    apply(daemon.client, document())
    operation = Operation(
        do=lambda client: apply(client, document(**changed)),
        undo=lambda client: apply(client, document()),
    )
    if "host" in changed:
        daemon.probe = lambda: _names(daemon)
    acts = crash_everywhere(daemon, operation)
    if changed.keys() & {"subnet", "host"}:
        crash_twice(daemon, operation, at=len(acts))


def _names(daemon: CrashingDaemon) -> list[str]:
    """Return what the network's dnsmasq says of both names, whatever its files say."""
    answers = [resolve(daemon.host, name, "192.168.122.1") for name in ("printer", "scanner")]
    return [f"DNS {answer}" for answer in answers]


@pytest.mark.parametrize("defined", [False, True])
def test_apply_starts(daemon: CrashingDaemon, defined: bool) -> None:
    """A network is defined and started by one document, or neither."""

    def undo(client: Client) -> None:
        stop(client)
        if defined:
            define(client, document())
        else:
            client.request("DELETE", "/v1/networks/red")

    if defined:
        define(daemon.client, document())
    crash_everywhere(
        daemon, Operation(do=lambda client: apply(client, document(end=50)), undo=undo)
    )


PORT = """<networkport><uuid>00000000-0000-0000-0000-00000000004d</uuid>
<owner><name>guest</name><uuid>00000000-0000-0000-0000-000000000005</uuid></owner>
<mac address='52:54:00:7b:35:93'/></networkport>"""


def test_ports_of_a_libvirt_client(daemon: CrashingDaemon) -> None:
    """A port that its client realises is a record, and that is there or it is not."""
    apply(daemon.client, document())
    socket = daemon.host.file(f"{RUN_DIR}/libvirt-sock")
    port = UUID_OF_PORT

    def ask(name: str, *arguments: object) -> None:
        """Call as libvirt's QEMU driver does; a daemon that dies meanwhile is unreachable."""
        try:
            with RawClient(socket, timeout=30).open() as libvirt:
                net = libvirt.lookup("red")
                first: object = net if name == "port_create" else PortRef(net, port)
                libvirt.call(name, first, *arguments)
        except OSError as error:
            raise DaemonUnreachable(str(error)) from error

    create = Operation(
        do=lambda _: ask("port_create", PORT, 0), undo=lambda _: ask("port_delete", 0)
    )
    acts = crash_everywhere(daemon, create)
    assert ["1: write to the journal of ports"] == [act for act in acts if "write" in act]
    create.do(daemon.client)
    delete = Operation(do=create.undo, undo=create.do)
    crash_everywhere(daemon, delete)
    # And now in whatever the next daemons do about what was written.
    delete.do(daemon.client)
    delete.undo(daemon.client)
    daemon.kill9()
    number = 0
    while True:
        number += 1
        daemon.arm(number)
        daemon.start(wait=False)
        wait_for(lambda: daemon.crashed() or answers(daemon), 20, "the daemon, or its end")
        if daemon.crashed() is None:
            break
        daemon.process.wait()
    daemon.disarm()
    # What it does from now on would be counted, too.
    daemon.kill9()
    daemon.start()
    assert [str(port)] == [item["uuid"] for item in daemon.client.request("GET", "/v1/ports")]
    # Of an event that was told each number is given once, whoever died in between.
    numbers = [item["number"] for item in daemon.client.lines("/v1/events")]
    assert sorted(set(numbers)) == numbers


MANAGED = f"""
<network>
  <name>red</name><uuid>{UUID}</uuid>
  <forward mode='bridge'/>
  <bridge name='br0'><uplinks mtu='1400'><interface dev='eth0'/></uplinks></bridge>
</network>
"""

CONFIGURATION = (
    "ip addr add 192.0.2.11/24 dev eth0 label eth0:more",
    "ip addr add 198.51.100.7/24 dev eth0 valid_lft 40000 preferred_lft 30000",
    "ip addr add 2001:db8:1::10/64 dev eth0 nodad",
    "ip route add default via 192.0.2.1 src 192.0.2.11",
    "ip -6 route add default via 2001:db8:1::1",
    "ip route add 10.2.0.0/16 via 192.0.2.1 dev eth0 table 100",
    "ip neigh add 192.0.2.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent",
)


@pytest.fixture
def connected(daemon: CrashingDaemon, lan: Lan, outside: Host) -> CrashingDaemon:
    """Give the daemon's host an uplink, with a machine outside that has to stay reachable."""
    host = daemon.host
    # Each time that eth0 has its address back, the kernel would look for duplicates of it first.
    host.set_sysctl("net/ipv6/conf/default/accept_dad", "0")
    lan.plug(host, "eth0", "192.0.2.10/24")
    for line in CONFIGURATION:
        host.run(line.split())
    assert outside.name == "outside"

    def reachable() -> list[str]:
        return [
            f"{target} answers: {ping(host, target, tries=5) is not None}"
            for target in ("192.0.2.1", "203.0.113.1", "2001:db8:1::1")
        ]

    assert all(line.endswith("True") for line in reachable())
    daemon.probe = reachable
    return daemon


@pytest.mark.timeout(600)
def test_managed_bridge_starts(connected: CrashingDaemon) -> None:
    """A bridge has taken over from its uplink whole, or not at all; the host stays connected."""
    define(connected.client, MANAGED)
    acts = crash_everywhere(connected, Operation(do=start, undo=stop))
    crash_twice(connected, Operation(do=start, undo=stop), at=len(acts) - 1)


@pytest.mark.timeout(600)
def test_managed_bridge_stops(connected: CrashingDaemon) -> None:
    """An uplink has everything back, or nothing; the guest finds its bridge again."""
    define(connected.client, MANAGED)
    start(connected.client)
    attach_netns(connected.client)
    acts = crash_everywhere(connected, Operation(do=stop, undo=start))
    crash_twice(connected, Operation(do=stop, undo=start), at=len(acts) // 2)
