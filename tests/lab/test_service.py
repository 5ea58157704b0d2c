"""jackfieldd as a service: what it tells systemd, and what its unit leaves it.

::

    outside 192.0.2.1 ── LAN ── eth0 192.0.2.10   host   virbr-blue 10.0.0.1 fd00::1 ── guests
"""

from __future__ import annotations

import configparser
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from jackfield.client import Client
from jackfield.config import Config
from jackfield.errors import ConfigurationError
from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.host import Host
from tests.lab.namespace import CommandFailed
from tests.lab.packets import ping
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "packaging/jackfieldd.service"
CONFINED = Path(__file__).with_name("confined.py")
NOBODY = 65534

DOCUMENT = """\
<network>
  <name>blue</name>
  <forward mode='nat'><nat ipv6='yes'/></forward>
  <bridge name='virbr-blue' stp='off'/>
  <mtu size='1400'/>
  <domain name='blue.example'/>
  <ip address='10.0.0.1' netmask='255.255.255.0'>
    <dhcp><range start='10.0.0.100' end='10.0.0.199'/></dhcp>
  </ip>
  <ip family='ipv6' address='fd00::1' prefix='64'>
    <dhcp><range start='fd00::100' end='fd00::199'/></dhcp>
  </ip>
</network>
"""
SWITCHED = DOCUMENT.replace("<domain", "<vde group='audio'/><domain")
RESERVED = SWITCHED.replace(
    "<range start='10.0.0.100' end='10.0.0.199'/>",
    "<range start='10.0.0.100' end='10.0.0.199'/>"
    "<host mac='52:54:00:00:00:01' name='anna' ip='10.0.0.150'/>",
)

# Where the far end of a veth pair can be made in place (Linux 6.13), nobody enters a namespace.
OF_OLDER_KERNELS = {"CAP_SYS_ADMIN"}
PLUG = """
import sys
from jackfield.host.netlink.route import RouteSocket
from jackfield.host.veth import create_pair_from_here
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.links import VethLink
from pathlib import Path
path = sys.argv[1]
veth = VethLink(
    name=InterfaceName(Path(path).name),
    alias="jackfield:port:5d1f1a3e-6c1c-4d8e-9d0b-1a2b3c4d5e6f",
    mac=MacAddress("fe:54:00:00:00:01"),
    peer_name=InterfaceName("eth0"),
    peer_netns=path,
    peer_mac=MacAddress("52:54:00:00:00:01"),
    mtu=None,
)
with RouteSocket() as route, open(path) as file:
    create_pair_from_here(route, veth, file.fileno())
"""

DIRECT = """\
<network>
  <name>lan</name>
  <forward mode='bridge'><interface dev='eth1'/></forward>
</network>
"""


def read_unit() -> configparser.ConfigParser:
    """Return the unit file."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT)
    return parser


@pytest.fixture(scope="module")
def unit() -> configparser.ConfigParser:
    """Give the unit file."""
    return read_unit()


def capabilities_of_unit() -> list[str]:
    """Return the capabilities that the unit leaves."""
    (line,) = [
        line for line in UNIT.read_text().splitlines() if line.startswith("CapabilityBoundingSet=")
    ]
    return line.partition("=")[2].split()


def test_the_unit_says_what_the_daemon_needs(unit: configparser.ConfigParser) -> None:
    """It starts the installed program, keeps its helpers and files, and names our directories."""
    service = unit["Service"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    program, *arguments = service["ExecStart"].split()
    assert Path(program).name in project["scripts"]
    assert [] == arguments
    assert "notify" == service["Type"]
    defaults = Config()
    assert str(defaults.run_dir) == f"/run/{service['RuntimeDirectory']}"
    assert str(defaults.state_dir) == f"/var/lib/{service['StateDirectory']}"
    # A wrong configuration is no better a second later.
    assert str(ConfigurationError.exit_status) == service["RestartPreventExitStatus"]
    # A host with hundreds of networks, or with slow hooks, needs longer than systemd's 90 s.
    assert "infinity" == service["TimeoutStartSec"]
    # dnsmasqs outlive the daemon, and need their files meanwhile.
    assert "process" == service["KillMode"]
    # Nor does one that is killed for want of memory take the daemon with it.
    assert "continue" == service["OOMPolicy"]
    assert "yes" == service["RuntimeDirectoryPreserve"]
    # dnsmasq's own user passes through both.
    for mode in ("RuntimeDirectoryMode", "StateDirectoryMode"):
        assert int(service[mode], 8) & 0o001
    assert "multi-user.target" == unit["Install"]["WantedBy"]


def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path) -> None:
    """Where systemd is installed, it knows every word of the unit."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    text = UNIT.read_text().replace("/usr/bin/jackfieldd", sys.executable)
    path = tmp_path / UNIT.name
    path.write_text(text)
    result = subprocess.run(
        ["systemd-analyze", "verify", path], capture_output=True, text=True, check=False
    )
    assert "" == result.stderr
    assert 0 == result.returncode


class Manager:
    """The socket that systemd listens at, on a host."""

    def __init__(self, host: Host) -> None:
        """Listen."""
        self.address = "/run/lab/notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(host.file(self.address)))
        self._socket.settimeout(20)

    def told(self) -> dict[str, str]:
        """Return the next message as its assignments."""
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().splitlines())

    def silent(self) -> bool:
        """Tell whether nothing has been said since."""
        self._socket.setblocking(False)
        try:
            self._socket.recv(4096)
        except BlockingIOError:
            return True
        finally:
            self._socket.settimeout(20)
        return False

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


def test_ready_means_that_the_api_answers_and_all_autostarted_networks_run(
    tmp_path: Path,
) -> None:
    """READY=1 comes after a boot's autostart; STOPPING=1 comes with SIGTERM, and then the end."""
    state = tmp_path / "state"
    with Host() as host, Daemon(host, state_dir=state) as daemon:
        for number in range(5):
            name = f"n{number}"
            text = DOCUMENT.replace("blue", name).replace("10.0.0", f"10.0.{number}")
            daemon.cli("define", daemon.document(text.replace("fd00:", f"fd00:{number}:")))
            daemon.cli("autostart", name)
    with Host() as host, contextlib.closing(Manager(host)) as manager:
        run_dir = host.file(RUN_DIR)
        process = host.start(
            [
                *(sys.executable, "-m", "jackfield.daemon"),
                *("--run-dir", RUN_DIR, "--state-dir", str(state)),
            ],
            env={"NOTIFY_SOCKET": manager.address},
            stderr=subprocess.DEVNULL,
        )
        while manager.silent():
            # Nobody must be able to ask before the daemon has said that it is ready.
            assert process.poll() is None
            time.sleep(0.005)
        networks = Client(run_dir).request("GET", "/v1/networks")
        assert [True] * 5 == [network["active"] for network in networks]
        process.send_signal(15)  # type: ignore[arg-type]
        assert {"STOPPING": "1"}.items() <= manager.told().items()
        assert 0 == process.wait()
        assert manager.silent()


def test_told_to_end_while_networks_start_with_the_host(tmp_path: Path) -> None:
    """Those that are on their way are started, and the rest by the next daemon."""
    state = tmp_path / "state"
    document = (
        "<network><name>{0}</name><bridge name='{0}' stp='off'/>"
        "<ip address='10.0.{1}.1' prefix='24'/></network>"
    )
    with Host() as host, Daemon(host, state_dir=state) as daemon:
        for number in range(12):
            daemon.cli("define", daemon.document(document.format(f"n{number}", number)))
            daemon.cli("autostart", f"n{number}")
    with Host() as host, contextlib.closing(Manager(host)) as manager:
        begun, go = host.file("/run/lab/begun"), host.file("/run/lab/go")
        script = host.file("/run/lab/hooks/network")
        script.parent.mkdir()
        script.write_text(
            "#!/bin/sh\necho $1 $2 >>/run/lab/begun\n"
            "until [ -e /run/lab/go ]; do sleep 0.05; done\n"
        )
        script.chmod(0o755)
        host.file("/run/lab/jackfield.toml").write_text('hooks_dir = "/run/lab/hooks"\n')
        command = [
            *(sys.executable, "-m", "jackfield.daemon", "--config", "/run/lab/jackfield.toml"),
            *("--run-dir", RUN_DIR, "--state-dir", str(state)),
        ]
        env = {"NOTIFY_SOCKET": manager.address}
        process = host.start(command, env=env, stderr=subprocess.DEVNULL)
        wait_for(lambda: begun.exists() and 8 == begun.read_text().count(" start\n"), 20, "starts")
        process.send_signal(15)  # type: ignore[arg-type]
        wait_for(lambda: not pending(process.pid), 10, "the signal to have been seen")
        go.touch()
        assert 0 == process.wait()
        started = {line.split()[0] for line in begun.read_text().splitlines()}
        assert 8 == len(started)
        assert {"lo", *started} == host.links()
        # It was never ready.
        assert ["STOPPING"] == list(manager.told())
        assert manager.silent()
        process = host.start(command, env=env, stderr=subprocess.DEVNULL)
        assert "1" == manager.told()["READY"]
        assert {"lo", *(f"n{number}" for number in range(12))} == host.links()
        process.send_signal(15)  # type: ignore[arg-type]
        assert 0 == process.wait()


def pending(pid: int) -> bool:
    """Tell whether a process has a signal that it has not taken yet."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    masks = dict(line.split(":\t") for line in lines if line.startswith("S"))
    return int(masks["ShdPnd"], 16) != 0


def test_ready_is_said_once_and_in_time(host: Host) -> None:
    """The first message is READY=1, with a status for people, and there is no second one."""
    with contextlib.closing(Manager(host)) as manager:
        env = {"NOTIFY_SOCKET": manager.address}
        with Daemon(host, env=env) as daemon:
            told = manager.told()
            assert "1" == told["READY"]
            assert told["STATUS"].startswith("serving")
            assert daemon.cli("list", json=True) == []
            assert manager.silent()


def confined(capabilities: Sequence[str], further: Mapping[str, object] | None = None) -> list[str]:
    """Return the command that confines the one after it."""
    settings = {"capabilities": list(capabilities), "no_new_privileges": True, **(further or {})}
    return [sys.executable, str(CONFINED), json.dumps(settings)]


def system_calls(words: Sequence[str]) -> set[str]:
    """Return the system calls that a filter of systemd's allows."""
    found = set()
    for word in words:
        if not word.startswith("@"):
            found.add(word)
            continue
        listed = subprocess.run(
            ["systemd-analyze", "syscall-filter", word], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        found |= system_calls(
            [name for line in listed[1:] if (name := line.strip()) and not name.startswith("#")]
        )
    return found


def as_a_service() -> list[str]:
    """Return the command that confines the one after it as the unit does.

    Without systemd, which alone knows its groups of system calls, by capabilities only.
    """
    service = read_unit()["Service"]
    further: dict[str, object] = {
        "families": service["RestrictAddressFamilies"].split(),
        "no_writable_code": service.getboolean("MemoryDenyWriteExecute"),
        "no_set_id": service.getboolean("RestrictSUIDSGID"),
    }
    if shutil.which("systemd-analyze") is not None:
        further["system_calls"] = sorted(system_calls(service["SystemCallFilter"].split()))
    return confined(capabilities_of_unit(), further)


def complete_round(prefix: Sequence[str]) -> None:
    """Use everything that takes a privilege, as the daemon run by ``prefix``; raise if it fails."""
    with Host() as host:
        host.open_tun()
        daemon = Daemon(host, prefix=prefix, expect_tracebacks=True)
        daemon.cli("apply", daemon.document(SWITCHED))
        guest = host.guest("anna")
        daemon.cli(
            *("attach", "blue", "--netns", "anna", "--ifname", "eth0"),
            *("--mac", "52:54:00:00:00:01"),
        )
        # A namespace without a name, known by the process that lives there.
        sleeper = host.start(["unshare", "--net", "sleep", "1000"])
        pid = wait_for(lambda: host.processes("sleep"), 5, "the process")[0]
        daemon.cli(
            *("attach", "blue", "--netns", f"/proc/{pid}/ns/net", "--ifname", "eth0"),
            *("--name", "bert"),
        )
        daemon.cli("attach", "blue", "--tap", "tap-carl", "--owner", str(NOBODY))
        daemon.cli("attach", "blue", "--vde", "--name", "emil")
        switches = host.processes("vde_switch")
        lease = guest.dhcp4()
        assert lease is not None
        assert guest.dhcp6() is not None
        told = {one["address"] for one in daemon.cli("leases", "blue", json=True)}
        assert {lease.address} < told
        (server,) = host.processes("dnsmasq")
        # Read again on SIGHUP, by a process of another user.
        steps = daemon.cli("apply", daemon.document(RESERVED), json=True)
        assert steps
        moved = guest.dhcp4()
        assert moved is not None
        assert "10.0.0.150" == moved.address
        assert [server] == host.processes("dnsmasq")
        daemon.terminate()
        daemon.start()
        assert [server] == host.processes("dnsmasq")
        assert switches == host.processes("vde_switch")
        assert 4 == len(daemon.cli("ports", json=True))
        assert {moved.address} < {one["address"] for one in daemon.cli("leases", json=True)}
        # Its settings cannot be read again, so it is another process, which finds its leases.
        daemon.cli("apply", daemon.document(RESERVED.replace("blue.example", "red.example")))
        assert [server] != host.processes("dnsmasq")
        again = guest.dhcp4()
        assert again is not None
        assert "10.0.0.150" == again.address
        daemon.cli("stop", "blue")
        assert [] == host.processes("dnsmasq") + host.processes("vde_switch")
        daemon.cli("start", "blue")
        assert ping(guest, "10.0.0.1", tries=3) is not None
        host.run(["ip", "link", "add", "eth1", "type", "veth", "peer", "name", "cable"])
        host.run(["ip", "link", "set", "cable", "up"])
        daemon.cli("apply", daemon.document(DIRECT))
        daemon.cli("attach", "lan", "--tap", "tap-dora", "--owner", str(NOBODY))
        daemon.cli("attach", "lan", "--netns", "anna", "--ifname", "eth1", "--name", "anna1")
        for port in ("anna", "bert", "tap-carl", "tap-dora", "anna1", "emil"):
            daemon.cli("detach", port)
        daemon.cli("stop", "lan")
        daemon.cli("undefine", "lan")
        host.run(["ip", "link", "del", "eth1"])
        daemon.cli("stop", "blue")
        daemon.cli("undefine", "blue")
        assert {"lo"} == host.links()
        daemon.terminate()
        sleeper.kill9()


def test_the_capabilities_of_the_unit_are_enough() -> None:
    """A complete round passes with the capabilities that the unit file leaves, and no others."""
    complete_round(confined(capabilities_of_unit()))


def test_the_confinement_of_the_unit_is_bearable(unit: configparser.ConfigParser) -> None:
    """The round passes with the unit's filter of system calls and without writable code, too."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed, which alone knows its groups of system calls")
    service = unit["Service"]
    assert "EPERM" == service["SystemCallErrorNumber"]
    assert "native" == service["SystemCallArchitectures"]
    complete_round(as_a_service())


@pytest.mark.parametrize("capability", sorted(set(capabilities_of_unit()) - OF_OLDER_KERNELS))
def test_no_capability_of_the_unit_is_too_many(capability: str) -> None:
    """Without any single one of them the round fails."""
    left = [one for one in capabilities_of_unit() if one != capability]
    with pytest.raises((AssertionError, CommandFailed)):
        complete_round(confined(left))


def test_older_kernels_need_to_enter_namespaces(host: Host) -> None:
    """What plugs a namespace in before Linux 6.13 fails without CAP_SYS_ADMIN, and only then."""
    enough = capabilities_of_unit()
    for number, capabilities in enumerate((enough, sorted(set(enough) - OF_OLDER_KERNELS))):
        host.run(["ip", "netns", "add", f"n{number}"])
        result = host.run(
            [*confined(capabilities), sys.executable, "-c", PLUG, f"/run/netns/n{number}"],
            check=False,
        )
        if number == 0:
            assert 0 == result.returncode, result.stderr
        else:
            assert "cannot enter the network namespace" in result.stderr
