"""The command line as people call it: real processes, against a real server."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import jackfield
from jackfield.diagnosis.finding import Finding, Likelihood
from jackfield.model.values import InterfaceName
from tests.web.fake import Served, serve

RED = """
<network>
  <name>red</name>
  <forward mode='nat'/>
  <bridge name='virbr7'/>
  <domain name='red.example'/>
  <ip address='192.168.7.1' prefix='24'>
    <dhcp><range start='192.168.7.2' end='192.168.7.9'/></dhcp>
  </ip>
</network>
"""
PROGRAM = [sys.executable, "-c", "from jackfield.cli.main import main; main()"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a call ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> object:
        return json.loads(self.out)


def call(
    *words: str, stdin: str = "", env: dict[str, str] | None = None, cwd: Path | None = None
) -> Outcome:
    """Run ``jackfield`` with ``words``."""
    source = os.fspath(Path(jackfield.__file__).parents[1])
    done = subprocess.run(
        [*PROGRAM, *words],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": source, "TZ": "UTC", **(env or {})},
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


class Cli:
    """``jackfield`` that talks to the server of the test."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.run_dir = os.fspath(served.run_dir)

    def __call__(self, *words: str, stdin: str = "") -> Outcome:
        return call(*words, stdin=stdin, env={"JACKFIELD_RUN_DIR": self.run_dir})

    def good(self, *words: str, stdin: str = "") -> str:
        outcome = self(*words, stdin=stdin)
        assert (0, "") == (outcome.status, outcome.err)
        return outcome.out


@pytest.fixture
def cli() -> Iterator[Cli]:
    """Give a command line and its server."""
    with serve() as served:
        yield Cli(served)


def test_a_session(cli: Cli, tmp_path: Path) -> None:
    """Each message says what is now, and what to do next."""
    document = tmp_path / "red.xml"
    document.write_text(RED)
    assert "Network red is defined; start it with: jackfield start red\n" == cli.good(
        "define", str(document)
    )
    assert (
        "NAME  STATE     AUTOSTART  PERSISTENT  MODE  BRIDGE  ADDRESSES       PORTS\n"
        "red   inactive  no         yes         nat   virbr7  192.168.7.1/24  0\n"
        == cli.good("list")
    )
    assert (
        "1 to make, 1 to change, 1 to remove; do it with: jackfield apply red"
        == cli.good("plan", "red").splitlines()[-1]
    )
    assert (
        "Network red runs on virbr7 (192.168.7.1/24); plug something in with: "
        "jackfield attach --netns NAME --ifname eth0 red\n" == cli.good("start", "red")
    )
    assert "Network red is defined; it runs as before, until: jackfield apply red\n" == cli.good(
        "define", str(document)
    )
    assert "Nothing to do: network red is as it is defined.\n" == cli.good("plan", "red")
    assert (
        "eth0 in namespace g1 is plugged into network red with address 52:54:00:00:00:01; "
        "unplug it with: jackfield detach jf0\n"
        == cli.good("attach", "red", "--netns", "g1", "--ifname", "eth0")
    )
    assert "Port jf0 is unplugged.\n" == cli.good("detach", "jf0")
    assert "0 ports of network red are unplugged.\n" == cli.good("detach", "--network", "red")
    assert "Network red starts with the host from now on.\n" == cli.good("autostart", "red")
    assert "Network red no longer starts with the host.\n" == cli.good(
        "autostart", "red", "--disable"
    )
    assert "Network red is stopped.\n" == cli.good("stop", "red")
    assert "Network red is undefined.\n" == cli.good("undefine", "red")


def test_undefine_of_a_running_network(cli: Cli) -> None:
    """It says that the network runs on, and how to end it; JSON shows what is left."""
    cli.good("define", "-", stdin=RED)
    assert {} == json.loads(cli.good("undefine", "red", "--json"))
    cli.good("apply", "-", stdin=RED)
    assert (
        "Network red is undefined, but runs on as a transient one; end it with: "
        "jackfield stop red\n" == cli.good("undefine", "red")
    )
    cli.good("apply", "-", stdin=RED)
    left = json.loads(cli.good("undefine", "red", "--json"))
    assert ("red", True, False) == (left["name"], left["active"], left["persistent"])


def test_apply(cli: Cli) -> None:
    """Applying prints what was done."""
    assert (
        "+ bridge virbr7\n~ 4 firewall rules\n- route to 10.0.0.0/8\n"
        "Network red runs as it is defined on virbr7 (192.168.7.1/24).\n"
        == cli.good("apply", "-", "--transient", stdin=RED)
    )
    assert "no" == cli.good("list").splitlines()[1].split()[3]


def test_list_can_be_narrowed(cli: Cli) -> None:
    """Running and stopped networks are told apart, in tables and in JSON."""
    cli.good("define", "-", stdin=RED)
    cli.good("apply", "-", stdin=RED.replace(">red<", ">blue<"))
    names = {
        option: [line.split()[0] for line in cli.good("list", *option).splitlines()[1:]]
        for option in [(), ("--all",), ("--active",), ("--inactive",)]
    }
    both = ["blue", "red"]
    assert {
        (): both,
        ("--all",): both,
        ("--active",): ["blue"],
        ("--inactive",): ["red"],
    } == names
    listed = json.loads(cli.good("list", "--inactive", "--json"))
    assert ["red"] == [network["name"] for network in listed]


def test_a_problem_is_shown(cli: Cli) -> None:
    """A running network with a problem is not called active, and the problem is printed."""
    cli.good("apply", "-", stdin=RED)
    found = cli.served.engine.found
    found["red"] = msgspec.structs.replace(found["red"], problem="dnsmasq does not start")
    lines = cli.good("list").splitlines()
    assert "problem" == lines[1].split()[1]
    assert "red: dnsmasq does not start" == lines[2]


def test_show(cli: Cli) -> None:
    """A network is shown in both dialects, and as JSON that can be defined again."""
    cli.good("define", "-", stdin=RED)
    assert "<forward mode='nat'/>" in cli.good("show", "red")
    assert "layer='network'" in cli.good("show", "red", "--layered")
    shown = cli.good("show", "red", "--json")
    assert "red" == json.loads(shown)["name"]
    assert "red" in cli.good("define", "-", stdin=shown)
    cli.good("apply", "-", "--transient", stdin=RED)
    assert 5 == cli("show", "red", "--inactive").status
    assert 5 == cli("show", "red", "--inactive", "--json").status


def test_apply_live(cli: Cli) -> None:
    """What runs is mended, which no document says how to."""
    cli.good("apply", "-", stdin=RED)
    assert "Network red lacks nothing" in cli.good("apply", "red", "--live")
    assert 2 == cli("apply", "-", "--live", stdin=RED).status


def test_ports_and_leases(cli: Cli) -> None:
    """Ports and leases are tables for people and lists for programs."""
    cli.good("define", "-", stdin=RED)
    cli.good("attach", "red", "--tap", "t0", "--owner", "root", "--queues=4", "--name", "vm 1")
    asked = cli.served.engine.asked[0]
    assert (InterfaceName("t0"), 0, 4, "vm 1") == (
        asked.tap,
        asked.owner,
        asked.queues,
        asked.name,
    )
    heading, row = cli.good("ports").splitlines()
    assert heading.startswith("NETWORK  DEVICE  OWNER  MAC")
    assert row.startswith("red      t0      vm 1   52:54:00:00:00:01  -")
    assert "t0" == json.loads(cli.good("ports", "red", "--json"))[0]["device"]
    cli.served.engine.lease("red", ipaddress.ip_address("192.168.7.2"))
    heading, row = cli.good("leases", "red").splitlines()
    assert ["NETWORK", "ADDRESS", "MAC", "HOSTNAME", "EXPIRES", "CLIENT", "ID"] == heading.split()
    assert ["red", "192.168.7.2/24", "52:54:00:00:00:01", "red-guest", "never", "-"] == row.split()


def test_a_port_at_the_switch(cli: Cli) -> None:
    """It says where to plug in, and is listed with that."""
    cli.good("define", "-", stdin=RED)
    said = cli.good("attach", "red", "--vde", "--name", "vm")
    assert said.startswith(
        "Plug into network red with address 52:54:00:00:00:01 at /run/jackfield/vde/red; "
        "free the port with: jackfield detach "
    )
    _, row = cli.good("ports").splitlines()
    assert ["red", "-", "vm", "52:54:00:00:00:01", "/run/jackfield/vde/red"] == row.split()[:5]
    (port,) = json.loads(cli.good("ports", "--json"))
    assert {"kind": "vde", "path": "/run/jackfield/vde/red"} == port["plug"]


def test_events_so_far(cli: Cli) -> None:
    """Past events are printed, and can be resumed."""
    cli.good("define", "-", stdin=RED)
    cli.good("start", "red")
    lines = cli.good("events", "--no-follow").splitlines()
    assert "1  2023-11-14 22:13:21  network-defined    red" == lines[0].strip()
    since = cli.good("events", "--no-follow", "--since", "1", "--json").splitlines()
    assert ["network-started"] == [json.loads(line)["type"] for line in since]


def test_events_are_followed(cli: Cli) -> None:
    """An event is printed when it happens, and an interrupt ends the command."""
    following = subprocess.Popen(
        # Who runs the tests in the background may have an interrupt ignored, and it is inherited.
        ["env", "--default-signal=INT", *PROGRAM, "events", "--since=0", "--run-dir", cli.run_dir],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.fspath(Path(jackfield.__file__).parents[1])},
    )
    with following:
        assert following.stdout is not None
        assert following.stderr is not None
        try:
            for words in (["define", "-"], ["start", "red"]):
                cli.good(*words, stdin=RED)
                assert "red" == following.stdout.readline().split()[-1]
            following.send_signal(signal.SIGINT)
            assert 130 == following.wait(10)
            assert "" == following.stderr.read()
        finally:
            following.kill()


def test_a_reader_that_goes_is_no_error(cli: Cli) -> None:
    """A closed pipe ends the command silently, as with other programs."""
    for number in range(60):
        cli.served.client.request("POST", "/v1/networks", RED.replace(">red<", f">n{number}<"))
    command = subprocess.Popen(
        # Who runs the tests in the background may have an interrupt ignored, and it is inherited.
        ["env", "--default-signal=INT", *PROGRAM, "events", "--since=0", "--run-dir", cli.run_dir],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.fspath(Path(jackfield.__file__).parents[1])},
    )
    with command:
        assert command.stdout is not None
        assert command.stderr is not None
        try:
            command.stdout.readline()
            command.stdout.close()
            limit = time.monotonic() + 10
            number = 60
            while command.poll() is None and time.monotonic() < limit:
                document = RED.replace(">red<", f">n{number}<")
                cli.served.client.request("POST", "/v1/networks", document)
                number += 1
            assert 141 == command.wait(1)
            assert b"" == command.stderr.read()
        finally:
            command.kill()


@pytest.mark.parametrize(
    ("words", "status", "message", "hint"),
    [
        (["start", "blue"], 4, "there is no network 'blue'", "see: jackfield list --all"),
        (["lst"], 2, "there is no command 'lst'", "did you mean list? see: jackfield --help"),
        ([], 2, "there is no command", "see: jackfield --help"),
        (["start"], 2, "start: NETWORK is missing", "see: jackfield start --help"),
        (["undefine", ""], 2, "undefine: NETWORK is empty", "see: jackfield undefine --help"),
        (["import", ""], 2, "import: NETWORK is empty", "see: jackfield import --help"),
        (
            ["detach", "--network", ""],
            2,
            "detach: --network is empty",
            "see: jackfield detach --help",
        ),
        (["list", "x"], 2, "list: 'x' is one word too many", "see: jackfield list --help"),
        (["list", "--al"], 2, "list: there is no option --al", "see: jackfield list --help"),
        (["list", "--all=1"], 2, "list: --all takes no value", "see: jackfield list --help"),
        (["list", "--run-dir"], 2, "list: --run-dir needs a value", "see: jackfield list --help"),
        (
            ["list", "--active", "--inactive"],
            2,
            "list: --active and --inactive exclude each other",
            "see: jackfield list --help",
        ),
        (
            ["events", "--since", "soon"],
            2,
            "events: --since needs a number, not 'soon'",
            "see: jackfield events --help",
        ),
        (
            ["completion", "csh"],
            2,
            "completion: 'csh' is none of bash, zsh, fish",
            "see: jackfield completion --help",
        ),
        (
            ["export", "--to", "x"],
            2,
            "export: --to 'x' is none of libvirt",
            "see: jackfield export --help",
        ),
        (
            ["plan", "red", "-v"],
            2,
            "plan: --verbose goes with a document, not with a network of the daemon",
            None,
        ),
        (
            ["attach", "red", "--tap", "t0", "--ifname", "eth0"],
            2,
            "attach: --ifname goes with --netns",
            None,
        ),
        (
            ["attach", "red", "--netns", "n", "--ifname", "e", "--owner", "0"],
            2,
            "attach: --owner goes with --tap",
            None,
        ),
        (["attach", "red", "--vde", "--queues", "2"], 2, "attach: --queues goes with --tap", None),
        (
            ["define", "/nonexistent.xml"],
            2,
            "cannot read /nonexistent.xml: No such file or directory",
            None,
        ),
        (["define", "-"], 2, "standard input is empty", None),
        (
            ["run", "--nic", "network=red", "qemu-system-x86_64", "-m", "512"],
            2,
            "run: there is no option -m",
            "the program and its own options stand after --; see: jackfield run --help",
        ),
        (
            ["attach", "red"],
            2,
            "attach: say what to plug in",
            "--netns NAME --ifname eth0, --tap NAME, or --vde",
        ),
        (
            ["attach", "red", "--tap", "t0", "--owner", "nobody-like-this"],
            2,
            "attach: there is no user 'nobody-like-this'",
            None,
        ),
    ],
)
def test_errors(cli: Cli, words: list[str], status: int, message: str, hint: str | None) -> None:
    """Errors say what and what to do, on standard error, with the status of their class."""
    outcome = cli(*words)
    expected = f"jackfield: error: {message}\n" + (f"  hint: {hint}\n" if hint else "")
    assert (status, "", expected) == (outcome.status, outcome.out, outcome.err)
    as_json = cli("--json", *words)
    assert (status, "") == (as_json.status, as_json.out)
    told = json.loads(as_json.err)["error"]
    assert (message, hint) == (told["message"], told["hint"])


@pytest.mark.parametrize(
    "words",
    [
        ["undefine"],
        ["start"],
        ["autostart"],
        ["show", "--json"],
        ["show"],
        ["ports"],
        ["attach", "--tap", "t0"],
        ["detach", "--network"],
    ],
)
def test_a_name_with_a_slash(cli: Cli, words: list[str]) -> None:
    """What cannot be a network's name is refused as ``define`` does, whoever is asked for it."""
    why = "network name 'red/blue' may not hold '/' or control characters"
    refused = cli("define", "-", stdin=RED.replace(">red<", ">red/blue<"))
    assert (3, True) == (refused.status, why in refused.err)
    refused = cli(*words, "red/blue")
    assert (3, "", True) == (refused.status, refused.out, why in refused.err)


def test_common_options_may_stand_anywhere(cli: Cli) -> None:
    """``--json`` and ``--run-dir`` are taken before and after the command."""
    for words in (
        ["--json", "--run-dir", cli.run_dir, "list"],
        ["--run-dir=" + cli.run_dir, "list", "--json"],
        ["list", "--json", "--run-dir", cli.run_dir],
    ):
        assert [] == call(*words).json


def test_no_daemon(tmp_path: Path) -> None:
    """Without a daemon the error says how to get one."""
    outcome = call("list", "--run-dir", str(tmp_path))
    assert 8 == outcome.status
    assert (
        f"jackfield: error: no daemon answers at {tmp_path}/api.sock: No such file or directory\n"
        "  hint: start it with: systemctl start jackfieldd, or jackfieldd as root (or name its run "
        "directory with --run-dir)\n" == outcome.err
    )


def test_help_and_version() -> None:
    """Help is there for all and for each; the version is printed."""
    assert f"jackfield {jackfield.__version__}\n" == call("--version").out
    assert "  define      store a network's definition" in call("--help").out
    outcome = call("attach", "--help")
    assert (0, "") == (outcome.status, outcome.err)
    assert "  --tap NAME         make a persistent tap of this name\n" in outcome.out
    for line in (
        "attach NETWORK (--netns NAME | --tap NAME | --vde) [--ifname NAME]",
        "detach (PORT | --network NETWORK)",
        "list [--all | --active | --inactive]",
        "run --nic network=NAME[,KEY=…] … [--name NAME] [--guest UUID] -- COMMAND…",
    ):
        assert f"usage: jackfield {line}" in call(line.partition(" ")[0], "--help").out


def test_what_follows_the_dashes_is_the_programs(cli: Cli) -> None:
    """``run`` hands ``--help`` and ``--json`` on, and neither answers nor reports by them."""
    cli.good("define", "-", stdin=RED)
    nic = ["run", "--nic", "network=red,type=vde", "--"]
    assert "-h --json 52:54:00:00:00:01\n" == cli.good(*nic, "echo", "-h", "--json", "{nic0.mac}")
    assert "run: {nic0.fd}: there is no 'fd'" in cli(*nic, "echo", "--json", "{nic0.fd}").err
    assert cli(*nic, "echo", "--json", "{nic0.fd}").err.startswith("jackfield: error: ")
    assert cli.good("run", "--help", "--", "echo").startswith("usage: jackfield run ")


def test_plan_of_a_file(tmp_path: Path) -> None:
    """A file is planned without a daemon."""
    (tmp_path / "red.xml").write_text(RED)
    outcome = call("plan", "red.xml", "--run-dir", str(tmp_path), cwd=tmp_path)
    assert (0, "") == (outcome.status, outcome.err)
    lines = outcome.out.splitlines()
    assert lines[0].startswith("+ bridge virbr7")
    assert "+ address 192.168.7.1/24 on virbr7" in lines
    assert "+ dnsmasq on virbr7: DNS, DHCP" in lines
    done = "to make where none of it is there yet; do it with: jackfield apply red.xml"
    assert lines[-1].endswith(done)
    verbose = call("plan", "-", "-v", stdin=RED).out
    assert "dhcp-range=" in verbose
    assert "table inet jackfield {" in verbose
    host = "<host mac='52:54:00:00:00:01' ip='192.168.7.5'/>"
    name = "<host ip='192.168.7.6'><hostname>six</hostname></host>"
    dns = f"<dns><forwarder addr='192.0.2.1'/>{name}</dns>"
    more = RED.replace("</dhcp>", f"{host}</dhcp>").replace("<ip", f"{dns}<ip")
    shown = call("plan", "-", "-v", stdin=more).out
    for title, line in (
        ("servers", "server=192.0.2.1"),
        ("names", "192.168.7.6 six"),
        ("hosts", "52:54:00:00:00:01,192.168.7.5"),
    ):
        assert f"\n# {title}\n{line}\n" in shown
        assert f"\n# {title}\n" not in verbose
    steps = json.loads(call("plan", "-", "--json", stdin=RED).out)["steps"]
    assert {"create"} == {step["action"] for step in steps}


def test_check(tmp_path: Path) -> None:
    """A good document is called so; what is wrong with another is an error."""
    good = call("check", stdin=RED)
    assert "standard input: network red, mode nat: nothing is wrong with it.\n" == good.out
    astray = "<host mac='52:54:00:00:00:01' ip='192.168.8.5'/></dhcp>"
    noted = call("check", stdin=RED.replace("</dhcp>", astray)).out
    assert "standard input: network red, mode nat: it is valid, but:\n" in noted
    assert (
        "  note: 52:54:00:00:00:01 is to have 192.168.8.5, which is not in 192.168.7.0/24" in noted
    )
    meant = RED.replace("address='192.168.7.1' prefix='24'", "address='10.0.0.0'")
    noted = call("check", stdin=meant[: meant.index("<dhcp>")] + "</ip></network>").out
    assert "  note: 10.0.0.0 has no prefix and no netmask: its subnet is 10.0.0.0/8\n" in noted
    assert "  note: 10.0.0.0 is the lowest of its subnet, which some guests take for" in noted
    macvtap = tmp_path / "macvtap.xml"
    macvtap.write_text(
        "<network><name>red</name><forward mode='vepa'><interface dev='eth0'/></forward></network>"
    )
    assert "mode vepa: nothing is wrong with it" in call("check", str(macvtap)).out
    bridged = "<network><name>red</name><forward mode='bridge'/>"
    noted = call("check", stdin=f"{bridged}</network>").out
    assert "  note: it has no uplinks, so that no guest can be plugged in: name them" in noted
    subnet = "<ip address='10.0.0.1' prefix='24'/>"
    assert "name the bridge" in call("check", stdin=f"{bridged}{subnet}</network>").err
    wrong = call("check", stdin=RED.replace("192.168.7.9", "192.168.8.9"))
    assert 3 == wrong.status
    undefinable = call(
        "check",
        stdin=RED.replace(
            "<bridge",
            "<portgroup name='a' default='yes'/><portgroup name='b' default='yes'/><bridge",
        ),
    )
    assert 3 == undefinable.status
    assert "more than one default portgroup: 'a', 'b'" in undefinable.err
    unstartable = call(
        "check", stdin=RED.replace("mode='nat'", "layer='network' mode='subnet' dev='eth0'")
    )
    assert (0, "") == (unstartable.status, unstartable.err)
    assert "note: can be defined but not started: network 'red' asks for mode subnet" in (
        unstartable.out
    )
    misspelt = call("check", stdin=RED.replace("<dhcp>", "<dchp/><dhcp>"))
    assert 3 == misspelt.status
    assert "dchp" in misspelt.err
    guest = (
        "<domain><name>g</name><devices><interface type='network'>"
        "<source network='red'/></interface></devices></domain>"
    )
    assert (
        "standard input: a guest with 1 interface on networks of the host: red: nothing is "
        "wrong with it.\n  note: no daemon answers, so what it would get here is not known\n"
        == call("check", stdin=guest).out
    )
    bound = guest.replace("network='red'", "network='red' mode='vepa'")
    assert "belongs to the host" in call("check", stdin=bound).err


def test_convert() -> None:
    """A document goes through every form and comes back the same."""
    layered = call("convert", "-", "--to", "layered", stdin=RED).out
    assert "layer='network'" in layered
    as_json = call("convert", "-", "--to", "json", stdin=layered).out
    assert "red" == json.loads(as_json)["name"]
    assert as_json == call("convert", "-", "--json", stdin=RED).out
    both = call("convert", "-", "--json", "--to", "libvirt", stdin=RED)
    assert "--json and --to libvirt exclude each other" in json.loads(both.err)["error"]["message"]
    libvirt = call("convert", "-", stdin=as_json).out
    assert libvirt == call("convert", "-", "--to", "libvirt", stdin=RED).out
    unknown = call("convert", "-", "--to", "latin", stdin=RED)
    assert 2 == unknown.status
    assert "convert: --to 'latin' is none of libvirt, layered, json\n" in unknown.err


@pytest.mark.parametrize("name", ["-x", "red\u202edlog", "it's \u2067\\here"])
def test_a_name_that_is_not_what_it_seems(cli: Cli, tmp_path: Path, name: str) -> None:
    """Nothing is printed that would reorder the line, and what is advised can be pasted."""
    document = tmp_path / "red.xml"
    document.write_text(RED.replace("red<", f"{name}<"))
    said = [cli.good("define", str(document))]
    for _ in range(3):
        # define advises to start it, start to attach to it, and that to detach it.
        advised = said[-1].strip().partition(": jackfield ")[2]
        command = advised.replace("--netns NAME", "--netns g1")
        words = subprocess.run(
            ["bash", "-c", f"printf '%s\\0' {command}"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        ).stdout.split("\0")[:-1]
        said.append(cli.good(*words))
    assert "is unplugged." in said[-1]
    said += [cli.good("list"), cli.good("plan", "--", name), cli("start", "--", name).err]
    said.append(cli("stop", "--", f"{name}?").err)
    shown = "".join(said)
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert name.replace("\u202e", "\\u202e").replace("\u2067", "\\u2067") in said[4]


def test_doctor(cli: Cli, tmp_path: Path) -> None:
    """What is found is told a line each, with what to do, and makes the status 1."""
    assert "No network runs, so there is nothing to look at; see: jackfield list\n" == cli.good(
        "doctor"
    )
    for name in ("red", "blue"):
        (tmp_path / name).write_text(RED.replace("red", name))
        cli.good("apply", str(tmp_path / name))
    assert (
        "Nothing found: the host does not keep guests of red and blue from the network.\n"
        == cli.good("doctor")
    )
    cli.served.engine.diagnosed = [
        Finding(
            network="red",
            likelihood=Likelihood.PERHAPS,
            text="something is perhaps dropped",
            hint="see to it",
        ),
        Finding(
            network="blue", likelihood=Likelihood.FAULT, text="DHCP is dropped", hint="accept it"
        ),
    ]
    outcome = cli("doctor", "red", "blue", "red")
    assert (1, "") == (outcome.status, outcome.err)
    assert (
        "blue: DHCP is dropped\n  hint: accept it\n"
        "red: something is perhaps dropped\n  hint: see to it\n" == outcome.out
    )
    assert 1 == cli("doctor").status
    outcome = cli("doctor", "blue", "--json")
    assert 1 == outcome.status
    assert {
        "networks": ["blue"],
        "findings": [
            {"network": "blue", "certain": True, "text": "DHCP is dropped", "hint": "accept it"}
        ],
        "notes": [],
    } == outcome.json
    assert 4 == cli("doctor", "green").status
    assert 2 == cli("doctor", "").status
