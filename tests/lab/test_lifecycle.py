"""The life of networks, by the command line: stored, running, both, and again after a boot."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.host import Host, HostProcess
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab


def document(name: str = "red", subnet: int = 0, mode: str = "nat", **more: str) -> str:
    """Return a network's document."""
    uuid = f"<uuid>{more['uuid']}</uuid>" if "uuid" in more else ""
    forward = f"<forward mode='{mode}'/>" if mode else ""
    return f"""
    <network>
      <name>{name}</name>{uuid}{forward}
      <domain name='{more.get("domain", "example")}'/>
      <ip address='10.0.{subnet}.1' prefix='24'>
        <dhcp><range start='10.0.{subnet}.10' end='10.0.{subnet}.99'/></dhcp>
      </ip>
    </network>
    """


PRIVATE = (
    "<network><name>red</name><forward mode='private'><interface dev='eth1'/></forward></network>"
)


def listed(daemon: Daemon) -> dict[str, dict[str, Any]]:
    """Return the networks by name."""
    return {network["name"]: network for network in daemon.cli("list", json=True)}


def refused(daemon: Daemon, *arguments: str) -> str:
    """Run a command that must be refused; return what it says."""
    result = daemon.cli(*arguments, check=False)
    assert 5 == result.returncode, result
    assert not result.stdout
    return str(result.stderr)


def test_persistent(daemon: Daemon) -> None:
    """A defined network outlives its runs and the daemon; undefined and stopped it is gone."""
    daemon.cli("define", daemon.document(document()))
    red = listed(daemon)["red"]
    assert (False, True, False) == (red["active"], red["persistent"], red["autostart"])
    assert {"lo"} == daemon.host.links()
    daemon.cli("start", "red")
    daemon.restart()
    assert {"lo", red["bridge"]} == daemon.host.links()
    assert {**red, "active": True} == listed(daemon)["red"]
    daemon.cli("stop", "red")
    assert {"red": red} == listed(daemon)
    daemon.cli("undefine", "red")
    assert {} == listed(daemon)
    daemon.restart()
    assert {} == listed(daemon)
    assert {"lo"} == daemon.host.links()


def test_transient(daemon: Daemon) -> None:
    """A network that is not stored runs over a restart of the daemon and is gone when stopped."""
    daemon.cli("apply", "--transient", daemon.document(document()))
    red = listed(daemon)["red"]
    assert (True, False) == (red["active"], red["persistent"])
    daemon.kill9()
    daemon.start()
    assert {"red": red} == listed(daemon)
    assert "transient" in refused(daemon, "autostart", "red")
    assert "transient" in refused(daemon, "undefine", "red")
    daemon.cli("stop", "red")
    assert {} == listed(daemon)
    assert {"lo"} == daemon.host.links()


def test_a_database_that_is_lost(host: Host, daemon: Daemon) -> None:
    """Links of what nobody knows any more are named, with what removes them, and left alone.

    So are its rules, which go when the links have gone, and no others.
    """
    host.open_tun()
    daemon.cli("apply", daemon.document(document()))
    daemon.cli("attach", "red", "--tap", "t0")
    (bridge,) = (link for link in host.links() if link.startswith("virbr"))
    daemon.restart()
    assert not any("not on record" in item["message"] for item in daemon.log())
    daemon.terminate()
    host.run(["rm", "-r", daemon.state_dir])
    daemon.start()
    assert {"lo", bridge, "t0"} == host.links()
    told = [item["message"] for item in daemon.log() if "not on record" in item["message"]]
    (service,) = (text for text in told if text.startswith("dnsmasq serves network"))
    told.remove(service)
    found = [re.findall("of a (network|port) that", text)[0] for text in told]
    assert ["network", "network", "port"] == sorted(found)
    (rules,) = (text for text in told if "table inet jackfield has rules of" in text)
    assert f"has rules of {bridge}, of a network that is not on record" in rules
    other = document("blue", subnet=7)
    daemon.cli("apply", daemon.document(other))
    for text in {*told, service} - {rules}:
        host.run(text.partition("any more: ")[2].split())
    daemon.restart()
    assert 4 == sum("not on record" in item["message"] for item in daemon.log())
    assert f"rules of {bridge} in table inet jackfield were of no network" in daemon.log_text()
    assert f'"{bridge}"' not in host.run(["nft", "list", "ruleset"]).stdout
    (blue,) = (link for link in host.links() if link.startswith("virbr"))
    assert f'"{blue}"' in host.run(["nft", "list", "ruleset"]).stdout
    assert {"steps": []} == daemon.cli("plan", "blue", json=True)
    # Of a table with nothing else nothing is left.
    daemon.terminate()
    host.run(["rm", "-r", daemon.state_dir])
    host.run(["ip", "link", "del", blue])
    daemon.start()
    assert [] == host.tables()


def test_hints_can_be_pasted(daemon: Daemon) -> None:
    """A command that an error advises has the network's name as a word of a shell."""
    daemon.cli("define", daemon.document(document().replace(">red<", ">red one<")))
    assert "jackfield start 'red one'" in refused(daemon, "attach", "red one", "--tap", "t0")
    daemon.cli("start", "red one")
    daemon.cli("undefine", "red one")
    assert "jackfield stop 'red one'" in refused(daemon, "undefine", "red one")


def test_undefined_while_it_runs(daemon: Daemon) -> None:
    """Undefining a running network makes it transient; defining makes it persistent again."""
    daemon.cli("apply", daemon.document(document()))
    before = listed(daemon)["red"]
    assert "runs on as a transient one" in daemon.cli("undefine", "red")
    assert {**before, "persistent": False} == listed(daemon)["red"]
    daemon.cli("define", daemon.document(document()))
    assert before == listed(daemon)["red"]
    assert 1 == len(daemon.host.processes("dnsmasq"))


@pytest.mark.parametrize(
    ("forward", "why"),
    [
        ("layer='network' mode='subnet' dev='eth7'", "asks for mode subnet"),
        ("layer='link' mode='bridge-brctl' dev='eth7'", "its uplink eth7 does not exist"),
        ("mode='bridge'", "there is no bridge for its <vde>"),
    ],
)
def test_defined_but_not_to_be_started(daemon: Daemon, forward: str, why: str) -> None:
    """Who defines what this host cannot start is told so, and not to start it."""
    rest = {"mode='bridge'": "<bridge name='br7'/><vde/>"}.get(forward, "")
    if "subnet" in forward:
        rest = "<ip address='10.0.0.1' prefix='24'/>"
    text = f"<network><name>red</name><forward {forward}/>{rest}</network>"
    said = daemon.cli("define", daemon.document(text))
    assert "Network red is defined, but cannot be started now: " in said
    assert why in said
    refusal = daemon.cli("start", "red", check=False)
    assert why in refusal.stderr


def test_leases_go_with_their_network(daemon: Daemon) -> None:
    """The leases outlive a stop, but not the network itself."""
    leases = Path(daemon.state_dir, "dnsmasq")

    def files() -> list[str]:
        return [path.name for path in daemon.host.file(leases).glob("*.leases")]

    daemon.cli("apply", daemon.document(document()))
    daemon.cli("stop", "red")
    assert [f"{listed(daemon)['red']['uuid']}.leases"] == files()
    daemon.cli("undefine", "red")
    assert [] == files()
    daemon.cli("apply", "--transient", daemon.document(document()))
    daemon.cli("stop", "red")
    assert [] == files()


def test_a_range_that_gets_shorter(daemon: Daemon) -> None:
    """Leases of the longer one do not keep dnsmasq from starting."""
    daemon.cli("define", daemon.document(document()))
    path = daemon.host.file(daemon.state_dir) / f"dnsmasq/{listed(daemon)['red']['uuid']}.leases"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(
            f"4000000000 52:54:00:00:00:{number:02x} 10.0.0.{number} host{number} *\n"
            for number in range(10, 100)
        )
    )
    daemon.cli("apply", daemon.document(document().replace("10.0.0.99", "10.0.0.12")))
    assert 90 == len(daemon.cli("leases", "red", json=True))
    assert 1 == len(daemon.host.processes("dnsmasq"))


@pytest.mark.parametrize("vde", ["", "<vde/>"])
def test_a_cleared_run_directory(host: Host, daemon: Daemon, vde: str) -> None:
    """What serves a network is still known, by ``apply``, ``stop`` and the next daemon."""
    host.open_tun()
    text = daemon.document(document().replace("<domain", f"{vde}<domain"))
    programs = ["dnsmasq", "vde_switch"] if vde else ["dnsmasq"]

    def clear() -> None:
        for name in ("dnsmasq", "vde", "vde-switch"):
            host.run(["rm", "-rf", f"{RUN_DIR}/{name}"])

    def served() -> list[int]:
        return [len(host.processes(program)) for program in programs]

    daemon.cli("apply", text)
    clear()
    daemon.cli("apply", "red")
    assert [1 for _ in programs] == served()
    clear()
    daemon.cli("stop", "red")
    assert [0 for _ in programs] == served()
    daemon.cli("start", "red")
    daemon.kill9()
    clear()
    daemon.start()
    assert [1 for _ in programs] == served()
    assert [] == daemon.cli("plan", "red", json=True)["steps"]
    assert listed(daemon)["red"]["problem"] is None


@pytest.fixture
def state() -> Iterator[Path]:
    """Give a directory of the machine for what outlives a host."""
    with tempfile.TemporaryDirectory(prefix="jackfield-") as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


@pytest.mark.parametrize("transient", [False, True])
def test_what_cannot_be_removed(host: Host, daemon: Daemon, transient: bool) -> None:
    """A stop that fails names each thing and why, and goes on when that is seen to."""
    options = ["--transient"] if transient else []
    more = "<bridge name='red0'/><bandwidth><outbound average='1000'/></bandwidth>"
    daemon.cli("apply", *options, daemon.document(document().replace("<ip", f"{more}<ip", 1)))
    before = daemon.cli("show", "red")
    # A rule of somebody else's, and a folder among the files of dnsmasq.
    host.run(["nft", "add chain inet jackfield mine"])
    host.run(["nft", "add rule inet jackfield mine jump police-red0"])
    (folder,) = host.file(RUN_DIR).glob("dnsmasq/*")
    (folder / "mine").mkdir()
    for _ in range(2):
        failed = daemon.cli("stop", "red", check=False)
        assert 7 == failed.returncode
        assert "cannot stop network 'red'" in failed.stderr
        assert "cannot delete chain police-red0 of table inet jackfield: EBUSY" in failed.stderr
        assert f"cannot remove {RUN_DIR}/dnsmasq/{folder.name}" in failed.stderr
        assert "jackfield stop red" in failed.stderr
        # It counts as running and ill, also for a daemon that starts with it like that.
        daemon.restart()
        (network,) = daemon.cli("list", json=True)
        assert network["active"]
        assert "cannot remove" in network["problem"]
        assert before == daemon.cli("show", "red")
    (folder / "mine").rmdir()
    host.run(["nft", "delete chain inet jackfield mine"])
    daemon.cli("stop", "red")
    assert "red0" not in host.links()
    assert [] == host.processes("dnsmasq")
    assert not any("jackfield" in table for table in host.tables())


def test_what_is_left_of_a_stop_that_failed(host: Host, daemon: Daemon) -> None:
    """Nothing of it is made anew by itself, and all of it by who applies it."""
    red = document().replace("<ip", "<bridge name='red0'/><ip", 1)
    blue = "<network><name>blue</name><bridge name='blue0'/><ip address='10.9.0.1' prefix='24'/>"
    daemon.cli("apply", daemon.document(red))
    daemon.cli("apply", daemon.document(blue + "</network>"))
    (served,) = (
        folder for folder in host.file(RUN_DIR).glob("dnsmasq/*") if "red0" in read_all(folder)
    )
    (served / "mine").mkdir()
    assert 7 == daemon.cli("stop", "red", check=False).returncode
    for harm, mended in (
        # What is seen after what the stop has done is mended after what was seen then.
        ("ip link del blue0", lambda: "blue0" in host.links()),
        ("nft flush ruleset", lambda: "blue0" in host.run(["nft", "list", "ruleset"]).stdout),
    ):
        host.run(harm.split())
        wait_for(mended, 10, "the other network to be mended")
        assert "red0" not in host.links()
        assert "red0" not in host.run(["nft", "list", "ruleset"]).stdout
    problems = {one["name"]: one["problem"] for one in daemon.cli("list", json=True)}
    assert "could not be stopped" in problems["red"]
    # A daemon that starts then leaves it so as well, until somebody asks.
    daemon.cli("attach", "blue", "--tap", "t0")
    daemon.kill9()
    daemon.start()
    assert "red0" not in host.links()
    assert "red0" not in host.run(["nft", "list", "ruleset"]).stdout
    problems = {one["name"]: one["problem"] for one in daemon.cli("list", json=True)}
    assert "jackfield stop red goes on, jackfield apply red makes it whole" in problems["red"]
    assert not problems["blue"]
    assert 7 == daemon.cli("stop", "red", check=False).returncode
    (served / "mine").rmdir()
    daemon.cli("apply", "red")
    assert "red0" in host.links()
    daemon.restart()
    assert not any(one["problem"] for one in daemon.cli("list", json=True))
    assert "red0" in host.run(["nft", "list", "ruleset"]).stdout
    host.run(["ip", "link", "del", "red0"])
    wait_for(lambda: "red0" in host.links(), 10, "the network to be mended")
    daemon.cli("stop", "red")
    assert "red0" not in host.links()


def read_all(folder: Path) -> str:
    """Return what is in the files of a folder."""
    return "".join(path.read_text() for path in folder.iterdir() if path.is_file())


def test_autostart(state: Path) -> None:
    """Marked networks start with the host, not with the daemon; transient ones end with it."""
    with Host() as first, Daemon(first, state_dir=state) as daemon:
        for number, name in enumerate(("marked", "other", "unmarked")):
            daemon.cli("define", daemon.document(document(name, number)))
        daemon.cli("autostart", "marked")
        daemon.cli("autostart", "unmarked")
        daemon.cli("autostart", "--disable", "unmarked")
        daemon.cli("start", "other")
        daemon.cli("apply", "--transient", daemon.document(document("fleeting", 7)))
        daemon.restart()
        assert not listed(daemon)["marked"]["active"]
    with Host() as second, Daemon(second, state_dir=state) as daemon:
        found = {name: network["active"] for name, network in listed(daemon).items()}
        assert {"marked": True, "other": False, "unmarked": False} == found
        assert {"lo", listed(daemon)["marked"]["bridge"]} == second.links()
        daemon.cli("stop", "marked")
        daemon.restart()
        assert not listed(daemon)["marked"]["active"]
        assert {"lo"} == second.links()


def test_what_a_later_version_has_stored(state: Path) -> None:
    """It costs nobody else's network, stays as it is, and is there again for who can read it."""
    with Host() as host, Daemon(host, state_dir=state) as daemon:
        for number, name in enumerate(("red", "later")):
            daemon.cli("define", daemon.document(document(name, number)))
            daemon.cli("start", name)
        uuid, bridge = (listed(daemon)["later"][key] for key in ("uuid", "bridge"))
        daemon.cli("attach", "later", "--tap", "tap0")
        processes = sorted(host.processes("dnsmasq"))
        daemon.terminate()
        with sqlite3.connect(state / "jackfield.db") as database:
            known = {
                table: database.execute(
                    f"SELECT document FROM {table} WHERE uuid = ?", (uuid,)
                ).fetchone()[0]
                for table in ("networks", "live")
            }
            for table, value in known.items():
                unknown = json.dumps({**json.loads(value), "of_tomorrow": 1}).encode()
                database.execute(f"UPDATE {table} SET document = ? WHERE uuid = ?", (unknown, uuid))
        database.close()
        daemon.start()
        assert ["red"] == list(listed(daemon))
        assert any("of_tomorrow" in entry["message"] for entry in daemon.log())
        assert {"lo", "tap0", bridge, listed(daemon)["red"]["bridge"]} == host.links()
        assert processes == sorted(host.processes("dnsmasq"))
        daemon.terminate()
        with sqlite3.connect(state / "jackfield.db") as database:
            for table, value in known.items():
                database.execute(f"UPDATE {table} SET document = ? WHERE uuid = ?", (value, uuid))
        database.close()
        daemon.start()
        assert listed(daemon)["later"]["active"]
        assert ["tap0"] == [port["device"] for port in daemon.cli("ports", "later", json=True)]
        assert processes == sorted(host.processes("dnsmasq"))


LATE = """
<network>
  <name>late</name><forward mode='bridge'/>
  <bridge name='br0'><uplinks><interface dev='eth8'/><interface dev='eth9'/></uplinks></bridge>
</network>
"""


def test_autostart_goes_on_after_a_failure(state: Path) -> None:
    """A marked network that cannot start says so, and keeps no other from starting.

    One that lacks its uplinks is started when all of them have come, whichever daemon runs then.
    """
    with Host() as first, Daemon(first, state_dir=state) as daemon:
        for number, name in enumerate(("blocked", "free")):
            daemon.cli("define", daemon.document(document(name, number)))
            daemon.cli("autostart", name)
        daemon.cli("define", daemon.document(LATE))
        daemon.cli("autostart", "late")
    with Host() as second:
        second.run(["ip", "link", "add", "dummy0", "type", "bridge"])
        second.run(["ip", "addr", "add", "10.0.0.7/24", "dev", "dummy0"])
        second.run(["ip", "link", "set", "dummy0", "up"])
        with Daemon(second, state_dir=state) as daemon:
            networks = listed(daemon)
            assert networks["free"]["active"]
            assert not networks["blocked"]["active"]
            assert "dummy0" in networks["blocked"]["problem"]
            assert "dummy0" in daemon.cli("list")
            assert "uplink eth8 does not exist" in networks["late"]["problem"]
            second.run(["ip", "link", "add", "eth8", "type", "veth", "peer", "name", "far"])
            wait_for(lambda: "uplink eth9 does" in listed(daemon)["late"]["problem"], 10, "eth9")
            daemon.restart()
            problems = {name: network["problem"] for name, network in listed(daemon).items()}
            assert "dummy0" in problems["blocked"]
            assert "uplink eth9 does not exist" in problems["late"]
            second.run(["ip", "link", "set", "far", "name", "eth9"])
            wait_for(lambda: listed(daemon)["late"]["active"], 10, "the network to start")
            assert listed(daemon)["late"]["problem"] is None
            assert "br0" == second.ip("link", "show", "dev", "eth8")[0]["master"]
            # Somebody has seen to it: it is not started once more.
            daemon.cli("stop", "late")
            second.run(["ip", "link", "del", "dummy0"])
            daemon.restart()
            networks = listed(daemon)
            assert networks["blocked"]["active"]
            assert not networks["late"]["active"]


def test_define_and_apply(daemon: Daemon) -> None:
    """Defining leaves what runs alone until it starts anew; applying changes both."""
    daemon.cli("apply", daemon.document(document(domain="one")))
    before = daemon.cli("show", "red")
    assert "one" in before
    assert "nothing" not in before
    said = daemon.cli("define", daemon.document(document(domain="two")))
    assert "runs as before" in said
    assert before == daemon.cli("show", "red")
    assert "two" in daemon.cli("show", "--inactive", "red")
    daemon.restart()
    assert before == daemon.cli("show", "red")
    assert "two" in daemon.cli("show", "--inactive", "red")
    daemon.cli("stop", "red")
    daemon.cli("start", "red")
    assert "two" in daemon.cli("show", "red")
    daemon.cli("apply", daemon.document(document(domain="three")))
    assert "three" in daemon.cli("show", "red")
    assert "three" in daemon.cli("show", "--inactive", "red")
    config = "".join(
        path.read_text() for path in daemon.host.file(RUN_DIR).glob("dnsmasq/*/config")
    )
    assert "three" in config
    said = daemon.cli("apply", daemon.document(document(domain="three")))
    assert "nothing of the host had to change" in said


def test_refused_with_ports(daemon: Daemon) -> None:
    """With something plugged in a network cannot be undefined, nor its mode changed."""
    daemon.cli("apply", daemon.document(document()))
    daemon.host.guest("anna")
    daemon.cli("attach", "red", "--netns", "anna", "--ifname", "eth0", "--name", "anna")
    before = [daemon.cli("show", *words, "red") for words in ((), ("--inactive",))]
    assert "anna" in refused(daemon, "undefine", "red")
    assert "mode" in refused(daemon, "apply", daemon.document(document(mode="route")))
    assert before == [daemon.cli("show", *words, "red") for words in ((), ("--inactive",))]
    daemon.cli("stop", "red")
    assert "anna" in refused(daemon, "undefine", "red")
    assert "active" in refused(daemon, "attach", "red", "--tap", "tap0")
    daemon.cli("detach", "anna")
    daemon.cli("undefine", "red")
    assert {} == listed(daemon)


def test_mode_changed_without_ports(daemon: Daemon) -> None:
    """Without ports a running network changes its mode, and what belongs to it, in place."""
    daemon.cli("apply", daemon.document(document()))
    index = daemon.host.ip("link", "show", "dev", "virbr0")[0]["ifindex"]
    assert "1" == daemon.host.sysctl("net/ipv4/ip_forward")
    daemon.cli("apply", daemon.document(document(mode="")))
    assert index == daemon.host.ip("link", "show", "dev", "virbr0")[0]["ifindex"]
    assert "0" == daemon.host.sysctl("net/ipv4/ip_forward")
    daemon.cli("apply", daemon.document(document(mode="route")))
    assert "1" == daemon.host.sysctl("net/ipv4/ip_forward")
    daemon.cli("stop", "red")
    assert "0" == daemon.host.sysctl("net/ipv4/ip_forward")


def test_another_mode_with_ports(daemon: Daemon) -> None:
    """Defined otherwise while it is stopped, a network does not start with what does not fit.

    Nor does that keep the daemon from starting, or a port from being detached.
    """
    host = daemon.host
    before = host.links()
    guest = host.guest("anna")
    daemon.cli("apply", daemon.document(document()))
    daemon.cli("attach", "red", "--netns", "anna", "--ifname", "eth0")
    daemon.cli("attach", "red", "--tap", "tap0")
    said = refused(daemon, "apply", daemon.document(PRIVATE))
    assert "cannot have 2 of its ports (anna, tap0)" in said
    daemon.cli("stop", "red")
    daemon.cli("define", daemon.document(PRIVATE))
    said = refused(daemon, "start", "red")
    assert "(mode private), cannot have 2 of its ports (anna, tap0)" in said
    assert "hint: detach them first (jackfield detach PORT), or define it as it was" in said
    assert not listed(daemon)["red"]["active"]
    daemon.kill9()
    daemon.start()
    assert not listed(daemon)["red"]["active"]
    daemon.cli("detach", "tap0")
    assert "tap0" not in host.links()
    # As it was, it has the other again.
    daemon.cli("define", daemon.document(document()))
    daemon.cli("start", "red")
    assert guest.dhcp4() is not None
    daemon.cli("detach", "anna")
    daemon.cli("stop", "red")
    assert before == host.links()


def test_redefined(daemon: Daemon) -> None:
    """What was made up at the first definition stays: uuid, bridge and MAC address."""
    daemon.cli("define", daemon.document(document("first", 1)))
    daemon.cli("define", daemon.document(document()))

    def made_up() -> list[str]:
        text = daemon.cli("show", "--inactive", "red").splitlines()
        words = ("<uuid>", "<bridge ", "<mac ")
        return [line.strip() for line in text if line.strip().startswith(words)]

    before = made_up()
    assert 3 == len(before)
    assert "virbr1" in before[1]
    daemon.cli("undefine", "first")
    daemon.cli("define", daemon.document(document(domain="other")))
    assert before == made_up()
    daemon.cli("apply", daemon.document(document(domain="again")))
    assert before == made_up()


def test_mending_what_runs_by_another_definition(daemon: Daemon, host: Host) -> None:
    """What runs is mended while what is stored cannot be applied, and goes on as it runs."""
    text = document().replace("</name>", "</name><bridge name='red0'/>")
    daemon.cli("apply", daemon.document(text))
    daemon.cli("attach", "red", "--tap", "t0")
    daemon.cli("define", daemon.document(text.replace("red0", "red1").replace("0.99'", "0.98'")))
    stored, live = daemon.cli("show", "red", "--inactive"), daemon.cli("show", "red")
    host.set_sysctl("net/ipv4/ip_forward", "0")
    said = refused(daemon, "apply", "red")
    assert "cannot move to red1 while it runs" in said
    assert "what runs can be mended" in said
    assert "jackfield apply --live red" in said
    assert "jackfield apply --live red" in daemon.cli("doctor", check=False).stdout
    done = daemon.cli("apply", "--live", "red")
    assert "ip_forward" in done
    assert "Network red is mended" in done
    assert "1" == host.sysctl("net/ipv4/ip_forward")
    assert (stored, live) == (daemon.cli("show", "red", "--inactive"), daemon.cli("show", "red"))
    assert [] == daemon.cli("apply", "--live", "red", json=True)["steps"]
    assert "ip_forward" not in daemon.cli("doctor", check=False).stdout
    daemon.cli("detach", "t0")
    daemon.cli("stop", "red")
    assert "not active" in refused(daemon, "apply", "--live", "red")


def test_mending_a_transient_network(daemon: Daemon, host: Host) -> None:
    """`apply NAME`, as its problem says, mends it also where nothing is stored."""
    text = document().replace("</name>", "</name><bridge name='red0'/>")
    daemon.cli("apply", "--transient", daemon.document(text))
    host.set_sysctl("net/ipv4/ip_forward", "0")
    assert "ip_forward" in daemon.cli("apply", "red")
    assert "1" == host.sysctl("net/ipv4/ip_forward")
    assert not daemon.cli("list", json=True)[0]["persistent"]


def test_names_and_uuids_clash(daemon: Daemon) -> None:
    """One name has one uuid, and one uuid one name."""
    one, two = (f"6a1c0f6e-1f0c-4b8e-9a57-0d3f6f1b2c3{number}" for number in (1, 2))
    daemon.cli("define", daemon.document(document(uuid=one)))
    before = daemon.cli("show", "red")
    said = refused(daemon, "define", daemon.document(document(uuid=two)))
    assert "'red' already exists" in said
    assert one in said
    said = refused(daemon, "define", daemon.document(document("blue", uuid=one)))
    assert "'red'" in said
    assert before == daemon.cli("show", "red") == daemon.cli("show", one)
    assert {"red"} == listed(daemon).keys()


def test_a_tap_that_is_there_already(daemon: Daemon) -> None:
    """One of ours is another port's; one of somebody else is in the way, and stays."""
    daemon.cli("apply", daemon.document(document()))
    port = daemon.cli("attach", "red", "--tap", "t0", json=True)
    daemon.host.run(["ip", "link", "add", "t1", "type", "bridge"])
    links = daemon.host.links()
    said = refused(daemon, "attach", "red", "--tap", "t0")
    assert f"port {port['uuid']} of network 'red' has the tap t0 already" in said
    assert "jackfield detach t0" in said
    said = refused(daemon, "attach", "red", "--tap", "t1")
    assert "bridge t1" in said
    assert "is not ours" in said
    assert "document" not in said
    assert links == daemon.host.links()
    assert ["t0"] == [one["device"] for one in daemon.cli("ports", json=True)]


@pytest.mark.parametrize("forward", ["nat", "macvlan"])
def test_an_interface_that_a_guest_has_already(daemon: Daemon, host: Host, forward: str) -> None:
    """A port's, whatever the path of its namespace, and one of the guest's own: both are named."""
    text = document()
    if forward == "macvlan":
        host.run(["ip", "link", "add", "nic0", "type", "veth", "peer", "name", "far0"])
        for end in ("nic0", "far0"):
            host.run(["ip", "link", "set", end, "up"])
        text = "<network><name>red</name><forward mode='bridge' dev='nic0'/></network>"
    daemon.cli("apply", daemon.document(text))
    guest = host.guest("a")
    port = daemon.cli("attach", "red", "--netns", "a", "--ifname", "lan0", json=True)
    links, inside = host.links(), guest.links()
    for netns in ("a", "/var/run/netns/a"):
        said = refused(daemon, "attach", "red", "--netns", netns, "--ifname", "lan0")
        assert f"port {port['uuid']} of network 'red' has the interface lan0" in said
        assert "in network namespace" in said
        assert "--ifname" in said
    guest.run(["ip", "link", "add", "own0", "type", "bridge"])
    said = refused(daemon, "attach", "red", "--netns", "a", "--ifname", "own0")
    assert "own0" in said
    assert "/run/netns/a" in said
    assert "EEXIST" not in said
    assert links == host.links()
    assert {*inside, "own0"} == guest.links()
    # A name that its guest has given up is free.
    guest.run(["ip", "link", "set", "lan0", "down"])
    guest.run(["ip", "link", "set", "lan0", "name", "lan1"])
    daemon.cli("attach", "red", "--netns", "a", "--ifname", "lan0")
    assert {*inside, "own0", "lan1"} == guest.links()


def test_two_networks_with_one_subnet(daemon: Daemon) -> None:
    """Both may be defined; only one can run."""
    daemon.cli("apply", daemon.document(document()))
    daemon.cli("define", daemon.document(document("blue")))
    links = daemon.host.links()
    said = refused(daemon, "start", "blue")
    assert "10.0.0.0/24" in said
    assert "virbr0 (another network of Jackfield)" in said
    assert links == daemon.host.links()
    daemon.cli("stop", "red")
    daemon.cli("start", "blue")


def test_wrong_state(daemon: Daemon) -> None:
    """What runs is not started, and what does not is not stopped."""
    daemon.cli("define", daemon.document(document()))
    assert "not active" in refused(daemon, "stop", "red")
    daemon.cli("start", "red")
    assert "already active" in refused(daemon, "start", "red")
    result = daemon.cli("start", "nothing", check=False)
    assert 4 == result.returncode


def test_a_daemon_without_privileges(host: Host) -> None:
    """It says what it lacks, at once, and makes nothing."""
    daemon = [sys.executable, "-m", "jackfield.daemon", "--state-dir=/run/lab/state"]
    result = host.run(
        ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", *daemon], check=False
    )
    assert (6, "") == (result.returncode, result.stdout)
    assert result.stderr.startswith("jackfieldd: error: no permission to manage networks: ")
    assert "hint: start jackfieldd as root" in result.stderr
    assert not host.file("/run/lab/state").exists()


def test_one_daemon_for_a_namespace(daemon: Daemon) -> None:
    """A second daemon is refused, whatever its directories, and does no harm to the first."""
    for directory in (RUN_DIR, "/run/other"):
        result = daemon.host.run(
            [
                *(sys.executable, "-m", "jackfield.daemon"),
                *("--run-dir", directory, "--state-dir", f"/run/lab/state{directory}"),
            ],
            check=False,
        )
        assert result.returncode
        assert "another jackfieldd runs" in result.stderr
        assert "Traceback" not in result.stderr
    assert [] == daemon.cli("list", json=True)


def test_sigterm_finishes_what_was_begun(daemon: Daemon) -> None:
    """Operations that run when the daemon is told to end are finished and answered."""
    names = [f"net{number}" for number in range(6)]
    for number, name in enumerate(names):
        daemon.cli("define", daemon.document(document(name, number)))
    seen = len(daemon.log())
    commands = [daemon.cli_process("start", name) for name in names]
    # As soon as the first one is asked for, the others are on their way or come too late.
    wait_for(
        lambda: any(entry.get("operation") == "start" for entry in daemon.log()[seen:]),
        10,
        "a start to begin",
        interval=0.001,
    )
    daemon.terminate()
    acknowledged = {
        name for name, command in zip(names, commands, strict=True) if command.wait() == 0
    }
    daemon.start()
    active = {name for name, network in listed(daemon).items() if network["active"]}
    assert acknowledged
    assert acknowledged == active
    assert len(active) == len(daemon.host.processes("dnsmasq"))
    assert len(active) + 1 == len(daemon.host.links())
    assert "unfinished" not in daemon.log_text()


def test_undefined_before_it_is_applied(host: Host, daemon: Daemon) -> None:
    """Who applies a network by its name does not bring back one that is being undefined."""
    daemon.cli("define", daemon.document(document()))
    with contextlib.ExitStack() as stack:
        with daemon.paused():
            clients = []
            for line in ("DELETE /v1/networks/red", "POST /v1/networks/red/apply"):
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.settimeout(10)
                client.connect(str(daemon.api_socket))
                request = f"{line} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
                client.sendall(request.encode())
                clients.append(client)
        answers = [client.recv(12).decode() for client in clients]
    assert ["HTTP/1.1 204", "HTTP/1.1 404"] == answers
    assert {} == listed(daemon)
    assert {"lo"} == host.links()


class HastyDaemon(Daemon):
    """A daemon that stops what it has started at once."""

    def _process(self, arguments: Sequence[str], log: IO[str]) -> HostProcess:
        program = Path(__file__).with_name("hasty_daemon.py")
        return self.host.start([sys.executable, str(program), *arguments], stdout=log, stderr=log)

    def _check_loop(self) -> None:
        pass


def test_stopped_in_the_moment_in_which_it_started(host: Host) -> None:
    """That its dnsmasq ends then is what was wanted: nobody is told of a problem."""
    with HastyDaemon(host) as daemon:
        daemon.cli("define", daemon.document(document()))
        for _ in range(2):
            seen = len(daemon.log())
            daemon.cli("start", "red")
            wait_for(lambda: not listed(daemon)["red"]["active"], 10, "the network to stop")
            assert [] == [item for item in daemon.log()[seen:] if item["level"] == "error"]
        assert {"lo"} == host.links()
        assert [] == host.processes("dnsmasq")
