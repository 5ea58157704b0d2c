"""Hooks: scripts of an administrator, called as the stock libvirtd calls them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.lab.daemon import Daemon
from tests.lab.host import Host
from tests.lab.libvirtd import StockLibvirtd, skip_reason, use_stock_programs
from tests.lab.virsh import CONFIG, normalised
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

HOOKS = "/run/lab/hooks"
LOG = "/run/lab/hooks.log"
URI = "network:///system"

DOCUMENT = """
<network>
  <name>red</name>
  <uuid>00000000-0000-0000-0000-00000000000a</uuid>
  <description>two
lines</description>
  <bridge name='virbr-red' stp='on' delay='0'/>
  <mac address='52:54:00:00:00:0a'/>
  <ip address='10.0.0.1' netmask='255.255.255.0'>
    <dhcp><range start='10.0.0.10' end='10.0.0.99'/></dhcp>
  </ip>
</network>
"""
PORT = """
<networkport>
  <uuid>11111111-0000-0000-0000-00000000000a</uuid>
  <owner><name>anna</name><uuid>11111111-0000-0000-0000-00000000000b</uuid></owner>
  <mac address='52:54:00:00:00:01'/>
</networkport>
"""
RESERVATION = "<host mac='52:54:00:00:00:02' ip='10.0.0.12'/>"
RECORD = "\"<txt name='a' value='b'/>\""
NOTE = """#!/usr/bin/python3
import json, os, sys
with open("/run/lab/hooks.log", "a") as log:
    print(json.dumps([os.path.basename(sys.argv[0]), sys.argv[1:], sys.stdin.read()]), file=log)
"""


def hook(host: Host, name: str, text: str, directory: str = HOOKS) -> Path:
    """Write an executable script of the host."""
    path = host.file(f"{directory}/{name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def notes(host: Host) -> list[tuple[str, list[str], str]]:
    """Return which scripts ran: their names, arguments and standard inputs."""
    log = host.file(LOG)
    lines = log.read_text().splitlines() if log.exists() else []
    return [tuple(json.loads(line)) for line in lines]


def without_places(text: str) -> str:
    """Return an error without the environment and the place of the scripts."""
    text = re.sub(r"(/etc/libvirt|/run/lab)/hooks/", "HOOKS/", text)
    return re.sub(r"\(LC_ALL=\S+ .*? HOOKS/", "(HOOKS/", text)


def config(more: str = "") -> str:
    """Return a configuration with hooks of the host's own."""
    return f'{CONFIG}\nhooks_dir = "{HOOKS}"\n{more}\n'


def test_the_same_calls_as_libvirt() -> None:
    """Scripts see the same operations in the same order, with the same XML."""
    if (reason := skip_reason()) is not None:
        pytest.skip(reason)
    commands = (
        "net-define /run/lab/red.xml",
        "net-start red",
        "net-port-create red /run/lab/port.xml",
        f'net-update red add ip-dhcp-host "{RESERVATION}" --live --config',
        "net-port-delete red 11111111-0000-0000-0000-00000000000a",
        "net-desc red --live other",
        "net-destroy red",
        f'net-update red delete ip-dhcp-host "{RESERVATION}" --config',
        "net-create /run/lab/red.xml",
        "net-destroy red",
    )
    seen = []
    said: list[Any] = []
    for ours in (False, True):
        with Host("ours" if ours else "stock") as host:
            host.file("/run/lab/red.xml").write_text(DOCUMENT)
            host.file("/run/lab/port.xml").write_text(PORT)
            if ours:
                use_stock_programs(host)
            directory = HOOKS if ours else "/etc/libvirt/hooks"
            server = None
            if not ours:
                # Its hooks are looked for when it starts.
                server = StockLibvirtd(host)
                server.stop()
            for name in ("network", "network.d/20-second", "network.d/10-first"):
                hook(host, name, NOTE, directory)
            hook(host, "network.d/not-executable", NOTE, directory).chmod(0o644)
            if server is not None:
                server.start()
            with Daemon(host, config=config()) if ours else server:  # type: ignore[union-attr]
                for command in commands:
                    host.run(["sh", "-c", f"virsh -q -c {URI} {command}"])
                seen.append([(name, argv, normalised(text)) for name, argv, text in notes(host)])
                host.file(LOG).unlink()
                for name in ("network", "network.d/20-second"):
                    hook(host, name, "#!/bin/sh\necho no, by $0 >&2\nexit 3\n", directory)
                refused = [
                    host.run(["sh", "-c", f"virsh -c {URI} {command}"], check=False)
                    for command in ("net-start red", f"net-update red add dns-txt {RECORD}")
                ]
                said.append([(one.returncode, without_places(one.stderr)) for one in refused])
                said.append(host.run(["virsh", "-c", URI, "net-list", "--all"]).stdout)
                said.append(host.run(["virsh", "-c", URI, "net-dumpxml", "red"]).stdout)
                # Of a network that runs libvirt does not tell it.
                hook(host, "network", '#!/bin/sh\n[ "$2" != updated ]\n', directory)
                hook(host, "network.d/20-second", "#!/bin/sh\n", directory)
                host.run(["virsh", "-c", URI, "net-start", "red"])
                update = f"virsh -c {URI} net-update red delete dns-txt {RECORD} --live --config"
                assert int(ours) == host.run(["sh", "-c", update], check=False).returncode
                said.append(host.run(["virsh", "-c", URI, "net-dumpxml", "red"]).stdout)
    stock, own = seen
    # libvirt forgets how many ports there are when a running network is updated; we do not.
    own = [
        (name, argv, text.replace(" connections='1'", "") if argv[1] == "updated" else text)
        for name, argv, text in own
    ]
    assert [(name, argv) for name, argv, _ in stock] == [(name, argv) for name, argv, _ in own]
    assert stock == own
    operations = [argv[1] for name, argv, _ in own if name == "network"]
    assert [
        *("start", "started", "port-created", "updated", "port-deleted", "stopped", "updated"),
        *("start", "started", "stopped"),
    ] == operations
    assert ["network", "10-first", "20-second"] == [name for name, _, _ in own][:3]
    assert said[:4] == said[4:]
    assert [1, 1] == [status for status, _ in said[0]]
    assert ["<txt" in document for document in said[2:4]] == [True, False]


def test_a_refused_start_leaves_nothing(host: Host) -> None:
    """A start that a script refuses, before or after, is undone; others go on."""
    with Daemon(host, config=config()) as daemon:
        daemon.cli("define", daemon.document(DOCUMENT))
        for operation in ("start", "started"):
            hook(
                host,
                "network",
                f'#!/bin/sh\n[ "$2" != {operation} ] || {{ echo not today >&2; exit 1; }}\n',
            )
            result = daemon.cli("start", "red", check=False)
            assert 7 == result.returncode
            assert "not today" in result.stderr
            assert {"lo"} == host.links()
            assert [] == host.processes("dnsmasq")
            (red,) = daemon.cli("list", json=True)
            assert not red["active"]
        host.file(f"{HOOKS}/network").unlink()
        daemon.cli("start", "red")
        daemon.restart()
        (red,) = daemon.cli("list", json=True)
        assert red["active"]


def test_a_refused_port_leaves_nothing(host: Host) -> None:
    """A port that a script refuses is not there; one that goes is told whatever scripts say."""
    with Daemon(host, config=config()) as daemon:
        daemon.cli("apply", daemon.document(DOCUMENT))
        hook(
            host, "network.d/limit", "#!/bin/sh\ncase $2 in port-*) echo full >&2; exit 1;; esac\n"
        )
        result = daemon.cli("attach", "red", "--tap", "tap0", check=False)
        assert "full" in result.stderr
        assert "tap0" not in host.links()
        assert [] == daemon.cli("ports", json=True)
        hook(host, "network.d/limit", '#!/bin/sh\n[ "$2" != port-deleted ]\n')
        daemon.cli("attach", "red", "--tap", "tap0")
        daemon.cli("detach", "tap0")
        assert [] == daemon.cli("ports", json=True)
        assert any("port-deleted" in entry["message"] for entry in daemon.log())


def test_a_script_that_hangs_is_killed(host: Host) -> None:
    """A script that takes too long is ended with what it started, and has failed."""
    with Daemon(host, config=config("hook_timeout = 1.0")) as daemon:
        hook(host, "network", "#!/bin/sh\nsleep 1000 &\nsleep 1001\n")
        daemon.cli("define", daemon.document(DOCUMENT))
        result = daemon.cli("start", "red", check=False)
        assert "longer than 1 s" in result.stderr
        wait_for(lambda: not host.processes("sleep"), 5, "what the script started to end")
        assert {"lo"} == host.links()


def test_a_script_may_ask_the_daemon(host: Host) -> None:
    """A script that calls back gets answers, also about the network that is being changed."""
    with Daemon(host, config=config()) as daemon:
        hook(
            host,
            "network",
            "#!/bin/sh\n"
            f"virsh -q -c {URI} net-list --all >/run/lab/answer.$2 2>&1 || exit 1\n"
            f"virsh -q -c {URI} net-dumpxml $1 >/dev/null || exit 1\n",
        )
        daemon.cli("define", daemon.document(DOCUMENT))
        daemon.cli("start", "red")
        daemon.cli("attach", "red", "--tap", "tap0")
        daemon.cli("detach", "tap0")
        daemon.cli("stop", "red")
        states = {
            operation: host.file(f"/run/lab/answer.{operation}").read_text().split()[1]
            for operation in ("start", "started", "port-created", "port-deleted", "stopped")
        }
    assert {
        "start": "inactive",
        "started": "inactive",
        "port-created": "active",
        "port-deleted": "active",
        "stopped": "inactive",
    } == states


def test_a_script_may_ask_about_what_is_ending(host: Host) -> None:
    """A transient network is shown until it is forgotten, and its subnet is free already."""
    with Daemon(host, config=config()) as daemon:
        hook(
            host,
            "network",
            "#!/bin/sh\n"
            "[ $1.$2 = red.stopped ] || exit 0\n"
            f"virsh -q -c {URI} net-list --all >/run/lab/list\n"
            f"virsh -q -c {URI} net-dumpxml $1 >/run/lab/document\n"
            f"virsh -q -c {URI} net-create /run/lab/blue.xml\n",
        )
        blue = DOCUMENT.replace("red", "blue").replace("00a<", "00c<")
        host.file("/run/lab/blue.xml").write_text(blue)
        daemon.cli("apply", "--transient", daemon.document(DOCUMENT))
        daemon.cli("stop", "red")
        assert ["red", "inactive", "no", "no"] == host.file("/run/lab/list").read_text().split()
        assert "<name>red</name>" in host.file("/run/lab/document").read_text()
        (left,) = daemon.cli("list", json=True)
        assert ("blue", True) == (left["name"], left["active"])


def test_what_waited_while_a_network_went(host: Host) -> None:
    """A network that is applied while it is being undefined is there, and known."""
    with Daemon(host, config=config('log_level = "debug"')) as daemon:
        hook(
            host,
            "network",
            "#!/bin/sh\n"
            "[ $2 = start ] && [ ! -e /run/lab/go ] || exit 0\n"
            "touch /run/lab/begun\n"
            "until [ -e /run/lab/go ]; do sleep 0.01; done\n"
            "exit 1\n",
        )

        def is_asked(operation: str) -> bool:
            return any(operation == entry.get("operation") for entry in daemon.log())

        document = daemon.document(DOCUMENT)
        daemon.cli("define", document)
        commands = [daemon.cli_process("start", "red")]
        wait_for(host.file("/run/lab/begun").exists, 10, "the start to begin")
        for operation, arguments in (("undefine", ["red"]), ("apply", [document])):
            commands.append(daemon.cli_process(operation, *arguments))
            wait_for(lambda name=operation: is_asked(name), 10, operation)  # type: ignore[misc]
        host.file("/run/lab/go").touch()
        assert [7, 0, 0] == [command.wait(20) for command in commands]
        (red,) = daemon.cli("list", json=True)
        assert (True, True) == (red["active"], red["persistent"])
        assert "virbr-red" in host.links()


def test_a_script_need_not_listen_nor_be_quiet(host: Host) -> None:
    """Standard input may stay unread, standard error be long, and a child go on with both."""
    many = "".join(
        f"<host mac='52:54:00:00:{number // 256:02x}:{number % 256:02x}' "
        f"ip='10.0.{16 + number // 250}.{1 + number % 250}'/>"
        for number in range(2000)
    )
    document = DOCUMENT.replace("255.255.255.0", "255.255.0.0").replace("<dhcp>", f"<dhcp>{many}")
    with Daemon(host, config=config()) as daemon:
        hook(
            host,
            "network",
            "#!/bin/sh\nsleep 1000 &\necho $! >>/run/lab/child\nseq 100000 >&2\nexit 1\n",
        )
        daemon.cli("define", daemon.document(document))
        result = daemon.cli("start", "red", check=False)
        assert 7 == result.returncode
        assert "exit status 1: 1\n2\n3" in result.stderr
        assert 6000 > len(result.stderr)
        # Its own to end.
        for child in host.file("/run/lab/child").read_text().split():
            host.run(["kill", child])


SPITEFUL = """#!/bin/sh
[ "$2" = started ] || exit 0
nft add chain inet jackfield mine
nft add rule inet jackfield mine jump police-virbr-red
for folder in /run/jackfield/dnsmasq/*; do mkdir $folder/mine; done
echo no luck today >&2
exit 1
"""


@pytest.mark.parametrize("again", ["start", "restart"])
def test_a_start_that_fails_and_cannot_be_taken_back(host: Host, again: str) -> None:
    """Both are told, what failed first first; what is left goes as the hint says."""
    with Daemon(host, config=config()) as daemon:
        limited = DOCUMENT.replace("<ip", "<bandwidth><outbound average='1000'/></bandwidth><ip")
        daemon.cli("define", daemon.document(limited))
        script = hook(host, "network", SPITEFUL)
        failed = daemon.cli("start", "red", check=False)
        assert 7 == failed.returncode
        first, _, second = failed.stderr.partition("; taking it back failed as well: ")
        assert "cannot start network 'red': hook" in first
        assert "no luck today" in first
        assert "cannot delete chain police-virbr-red of table inet jackfield: EBUSY" in second
        assert "cannot remove /run/jackfield/dnsmasq/" in second
        assert "what is left goes when the network is started and stopped again, or jackf" in second
        (network,) = daemon.cli("list", json=True)
        assert not network["active"]
        assert "left by a start that failed: not everything could be removed" in network["problem"]
        assert "inet jackfield" in host.tables()
        script.unlink()
        host.run(["nft", "delete", "chain", "inet", "jackfield", "mine"])
        (folder,) = host.file("/run/jackfield/dnsmasq").glob("*/mine")
        folder.rmdir()
        if again == "restart":
            daemon.restart()
        else:
            daemon.cli("start", "red")
            assert [None] == [item["problem"] for item in daemon.cli("list", json=True)]
            daemon.cli("stop", "red")
        assert "virbr-red" not in host.links()
        assert not any("jackfield" in table for table in host.tables())
        assert [] == list(host.file("/run/jackfield/dnsmasq").glob("*"))
