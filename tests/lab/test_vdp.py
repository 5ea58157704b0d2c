"""Ports that the switch has to know: 802.1Qbg, told by what the switch was told.

::

    a (guest) ── macvlan or macvtap ── eth1 of the host ── cable ── port of a switch
                                       lldpad ─────── LLDP, ECP, VDP ─────── VdpSwitch
"""

from __future__ import annotations

import concurrent.futures
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid5

import pytest

from jackfield.client import Client
from tests.lab import lldpad as programs
from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.host import Host
from tests.lab.lldpad import Lldpad
from tests.lab.switch import Lan
from tests.lab.vdpswitch import Mode, VdpSwitch, Vsi
from tests.lab.wait import wait_for

pytestmark = [pytest.mark.lab]

MAC = "52:54:00:00:0a:01"


@pytest.fixture(autouse=True)
def obtainable() -> None:
    """Skip where there can be no lldpad."""
    reason = programs.skip_reason()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def port(host: Host, lan: Lan) -> str:
    """Give the host an uplink; return the switch's end."""
    return lan.plug(host, "eth1")


@pytest.fixture
def switch(lan: Lan, port: str) -> Iterator[VdpSwitch]:
    """Give the switch's side of 802.1Qbg at the other end of the uplink."""
    with VdpSwitch(lan.namespace, port) as station:
        yield station


@pytest.fixture
def lldpad(host: Host, port: str) -> Iterator[Lldpad]:
    """Give lldpad, with VDP enabled at the uplink."""
    with Lldpad(host, "eth1") as program:
        yield program


def document(mode: str = "vepa", name: str = "red", kind: str = "802.1Qbg") -> str:
    """Return a network whose ports the switch is told of."""
    parameters = "managerid='11' typeid='1193046' typeidversion='1'"
    return f"""
    <network><name>{name}</name>
      <forward mode='{mode}'><interface dev='eth1'/></forward>
      <virtualport type='{kind}'><parameters {parameters}/></virtualport>
    </network>
    """


@pytest.mark.shows("802.1Qbg", "lldpad, and a switch that was told")
@pytest.mark.parametrize("mode", ["vepa", "bridge", "private", "passthrough"])
def test_switch_is_told(
    host: Host, daemon: Daemon, lldpad: Lldpad, switch: VdpSwitch, mode: str
) -> None:
    """It knows a guest from attach to detach, by the values of the document and the guest."""
    daemon.cli("apply", daemon.document(document(mode)))
    host.guest("a")
    for how in (("--netns", "a", "--ifname", "eth0"), ("--tap", "tap0")):
        attached = daemon.cli("attach", "red", *how, "--mac", MAC, json=True)
        instance = UUID(attached["virtualport"]["instance_id"])
        vsi = Vsi(manager=11, type_id=1193046, version=1, instance=instance, guests=((MAC, 0),))
        assert {instance: vsi} == switch.associated
        daemon.cli("detach", attached["uuid"])
        assert {} == switch.associated
        assert {"lo", "eth1"} == host.links()
        assert (Mode.DEASSOCIATE, vsi) == switch.requests[-1]


def test_program_ends(host: Host, daemon: Daemon, lldpad: Lldpad, switch: VdpSwitch) -> None:
    """A port of a program that ends, however it does, is no longer known to the switch."""
    daemon.cli("apply", daemon.document(document()))
    command = [sys.executable, "-m", "jackfield.cli.main", "run", "--nic", "network=red", "--"]
    program = host.start(
        [*command, "sh", "-c", "echo {nic0.mac}; exec cat"],
        env={"JACKFIELD_RUN_DIR": RUN_DIR},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert program.popen.stdout is not None
    mac = program.popen.stdout.readline().strip()
    (vsi,) = switch.associated.values()
    assert ((mac, 0),) == vsi.guests
    program.kill9()
    wait_for(lambda: not switch.associated, 10, "the switch to be told of the end")
    wait_for(lambda: host.links() == {"lo", "eth1"}, 5, "the macvtap to go")


def test_uplink_that_was_down(
    host: Host, daemon: Daemon, lldpad: Lldpad, switch: VdpSwitch
) -> None:
    """It is brought up, and finds its switch, first; the switch is told before it goes down."""
    host.run(["ip", "link", "set", "eth1", "down"])
    daemon.cli("apply", daemon.document(document()))
    daemon.cli("attach", "red", "--tap", "tap0")
    assert 1 == len(switch.associated)
    daemon.cli("detach", "tap0")
    assert {} == switch.associated
    assert is_down(host)


def test_one_guest_is_one_instance_on_every_host(lan: Lan, obtainable: None) -> None:
    """A guest that leaves one host and comes to another is the same to the switch."""
    guest = "5f0c2c0e-7d3c-4a53-9d1c-1d1d0f3c9a10"
    told: list[Vsi] = []
    for name in ("one", "two"):
        with (
            Host(name) as host,
            VdpSwitch(lan.namespace, lan.plug(host, "eth1")) as switch,
            Lldpad(host, "eth1"),
            Daemon(host) as daemon,
        ):
            daemon.cli("apply", daemon.document(document()))
            daemon.cli("attach", "red", "--tap", "tap0", "--mac", MAC, "--guest", guest)
            told += switch.associated.values()
            daemon.cli("detach", "tap0")
            assert {} == switch.associated
    assert told[0] == told[1]
    assert uuid5(UUID(guest), MAC) == told[0].instance


# What is refused leaves nothing.


def is_down(host: Host) -> bool:
    """Tell whether the uplink is as administratively down as the test has left it."""
    (found,) = host.ip("link", "show", "dev", "eth1")
    return "UP" not in found["flags"]


def refused(host: Host, daemon: Daemon) -> str:
    """Attach in vain; return what is said when nothing of it is left."""
    result = daemon.cli("attach", "red", "--tap", "tap0", check=False)
    assert result.returncode
    assert [] == daemon.cli("ports", json=True)
    assert {"lo", "eth1"} == host.links()
    return str(result.stderr)


@pytest.fixture
def impatient(host: Host) -> Iterator[Daemon]:
    """Give a daemon that waits three seconds for a switch."""
    with Daemon(host, config="switch_timeout = 3\n") as daemon:
        yield daemon


def test_switch_refuses(host: Host, impatient: Daemon, lldpad: Lldpad, switch: VdpSwitch) -> None:
    """The error says which uplink, and what the switch said; then it changes its mind."""
    impatient.cli("apply", impatient.document(document()))
    switch.response = 5
    for _ in range(2):
        said = refused(host, impatient)
        assert "the switch at eth1 refuses VSI instance" in said
        assert "VTID version violation" in said
        assert "type 1193046, version 1, manager 11" in said
        assert {} == switch.associated
    switch.response = 0
    impatient.cli("attach", "red", "--tap", "tap0")
    assert 1 == len(switch.associated)


def test_switch_is_silent(host: Host, impatient: Daemon, lldpad: Lldpad, switch: VdpSwitch) -> None:
    """The attach fails in time, and others' changes do not wait for it."""
    host.run(["ip", "link", "set", "eth1", "down"])
    impatient.cli("apply", impatient.document(document()))
    blue = "<network><name>blue</name><ip address='10.0.1.1' prefix='24'/></network>"
    client = Client(host.file(RUN_DIR))
    client.request("POST", "/v1/networks", blue)
    switch.silent = True
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        begun = time.monotonic()
        attach = pool.submit(impatient.cli, "attach", "red", "--tap", "tap0", check=False)
        wait_for(lambda: "tap0" in host.links(), 3, "the attach to begin")
        client.request("POST", "/v1/networks/blue/start")
        client.request("POST", "/v1/networks/blue/ports", {"tap": "tap1"})
        client.request("POST", "/v1/networks/blue/stop")
        assert not attach.done()
        others = time.monotonic() - begun
        result = attach.result()
    assert others < 3
    assert result.returncode
    assert "the switch at eth1 has not answered within 3 s" in result.stderr
    assert "switch_timeout" in result.stderr
    assert "tap0" not in host.links()
    assert is_down(host)

    # The next one finds it in its senses, as soon as lldpad does.
    switch.silent = False
    host.run(["ip", "link", "set", "eth1", "up"])

    def attached() -> bool:
        return not impatient.cli("attach", "red", "--tap", "tap0", check=False).returncode

    wait_for(attached, 20, "the switch to take the guest in")
    assert 1 == len(switch.associated)


def test_no_lldpad(host: Host, impatient: Daemon, port: str) -> None:
    """Nothing is made where there is nobody who could tell a switch."""
    impatient.cli("apply", impatient.document(document()))
    assert "lldpad does not run" in refused(host, impatient)
    host.file("/run/lldpad.pid").write_text("4711\n")
    assert "process 4711" in refused(host, impatient)


def test_lldpad_without_vdp(host: Host, impatient: Daemon, port: str, switch: VdpSwitch) -> None:
    """The error says what is missing of lldpad.conf."""
    impatient.cli("apply", impatient.document(document()))
    with Lldpad(host):
        said = refused(host, impatient)
    assert "lldpad does not speak VDP at eth1" in said
    assert "lldpad.conf" in said


def test_switch_without_evb(host: Host, impatient: Daemon, port: str, lldpad: Lldpad) -> None:
    """The error says that it is the switch that has to be seen to."""
    impatient.cli("apply", impatient.document(document()))
    assert "no switch at eth1 has offered VDP" in refused(host, impatient)


def test_lldpad_that_is_stuck(host: Host, impatient: Daemon, lldpad: Lldpad) -> None:
    """One that does not answer is told of, and does not hold up the daemon either."""
    impatient.cli("apply", impatient.document(document()))
    lldpad.process.send_signal(signal.SIGSTOP)
    try:
        assert "lldpad" in refused(host, impatient)
    finally:
        lldpad.process.send_signal(signal.SIGCONT)
        # nsenter(1) stops with its program, and has to be told as well.
        lldpad.process.popen.send_signal(signal.SIGCONT)


def test_vn_link_is_refused(host: Host, impatient: Daemon, port: str) -> None:
    """What no driver that we could try has is refused before anything is made."""
    text = document().replace("802.1Qbg", "802.1Qbh")
    text = re.sub("<parameters.*/>", "<parameters profileid='web'/>", text)
    impatient.cli("apply", impatient.document(text))
    assert "virtualport of type '802.1Qbh'" in refused(host, impatient)


def test_instance_of_two(host: Host, daemon: Daemon, lldpad: Lldpad, switch: VdpSwitch) -> None:
    """An instanceid that the document gives is one guest's."""
    given = "instanceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f'"
    text = document().replace("typeidversion", f"{given} typeidversion")
    daemon.cli("apply", daemon.document(text))
    daemon.cli("attach", "red", "--tap", "tap0")
    result = daemon.cli("attach", "red", "--tap", "tap1", check=False)
    assert "is VSI instance 09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f already" in result.stderr
    assert 1 == len(switch.associated)


# It stays so.


def events(daemon: Daemon, kind: str) -> list[dict[str, Any]]:
    """Return the events of one type so far."""
    lines = daemon.cli("events", "--no-follow", "--since", "0", "--json").splitlines()
    return [one for one in map(json.loads, lines) if one["type"] == kind]


def test_restarts(host: Host, daemon: Daemon, lldpad: Lldpad, switch: VdpSwitch) -> None:
    """Neither the network's nor the daemon's makes a difference; after lldpad's it is told anew."""
    daemon.cli("apply", daemon.document(document()))
    daemon.cli("attach", "red", "--tap", "tap0")
    before = dict(switch.associated)
    asked = list(switch.requests)
    daemon.cli("stop", "red")
    daemon.cli("start", "red")
    daemon.restart()
    daemon.kill9()
    daemon.start()
    assert (before, asked) == (switch.associated, switch.requests)

    # With the daemon, and without it.
    lldpad.stop()
    switch.associated.clear()
    lldpad.start()
    wait_for(lambda: switch.associated == before, 15, "the switch to be told anew")
    wait_for(lambda: events(daemon, "network-repaired"), 5, "the event")
    assert (
        "not associated with the switch at eth1"
        in events(daemon, "network-problem")[0]["detail"]["problem"]
    )
    daemon.terminate()
    lldpad.stop()
    switch.associated.clear()
    lldpad.start()
    daemon.start()
    wait_for(lambda: switch.associated == before, 15, "the switch to be told anew")
    wait_for(lambda: daemon.ask("/v1/networks")[0]["problem"] is None, 5, "the end of the problem")
    daemon.cli("detach", "tap0")
    assert {} == switch.associated


def test_switch_ends_it(host: Host, daemon: Daemon, lldpad: Lldpad, switch: VdpSwitch) -> None:
    """An association that the switch ends is told of, and asked for again."""
    daemon.cli("apply", daemon.document(document()))
    daemon.cli("attach", "red", "--tap", "tap0")
    ((instance, vsi),) = switch.associated.items()
    switch.forget(instance)
    wait_for(lambda: events(daemon, "network-problem"), 10, "the event")
    wait_for(lambda: switch.associated == {instance: vsi}, 10, "the switch to take it back")
    wait_for(lambda: events(daemon, "network-repaired"), 5, "the event")

    # One that it does not take back does not keep the guest from being unplugged.
    switch.response = 2
    switch.forget(instance)
    wait_for(lambda: len(events(daemon, "network-problem")) > 2, 10, "the refusal")
    assert "insufficient resources" in events(daemon, "network-problem")[-1]["detail"]["problem"]
    daemon.cli("detach", "tap0")
    assert {"lo", "eth1"} == host.links()
    switch.response = 0
    daemon.cli("attach", "red", "--tap", "tap0")
    assert [vsi.guests] != [one.guests for one in switch.associated.values()]


@pytest.mark.parametrize("silent", [False, True])
def test_detach_without_an_answer(
    host: Host, impatient: Daemon, lldpad: Lldpad, switch: VdpSwitch, silent: bool
) -> None:
    """Whoever is silent, the guest is unplugged."""
    impatient.cli("apply", impatient.document(document()))
    impatient.cli("attach", "red", "--tap", "tap0")
    if silent:
        switch.silent = True
    else:
        lldpad.stop()
    impatient.cli("detach", "tap0")
    assert {"lo", "eth1"} == host.links()
    assert [] == impatient.cli("ports", json=True)
