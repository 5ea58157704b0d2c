"""Documents and requests that want to do harm: refused by name, and nothing is left of them.

One host with a daemon, and nothing else: whatever is there afterwards was left by an attack.
"""

from __future__ import annotations

import copy
import json
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import hypothesis
import msgspec
import pytest

from jackfield.client import Client, quote
from jackfield.errors import InvalidRequest, JackfieldError, UnsupportedConfiguration
from jackfield.host.dnsmasq.files import DnsmasqFiles
from jackfield.model.network import Network
from jackfield.model.values import InterfaceName
from jackfield.plan.dnsmasq import dnsmasq_service
from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.host import Host
from tests.lab.packets import ping
from tests.strategies import definitions

pytestmark = pytest.mark.lab

RED_UUID = UUID("5d1f1a3e-6c1c-4d8e-9d0b-1a2b3c4d5e6f")
EVIL = "/run/lab/evil"
#: What a text would have dnsmasq do, if it became a line or a further field.
OPTION = f"log-facility={EVIL}"

RED = """\
<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>
  <name>red</name>
  <forward mode='nat' dev='eth0'/>
  <bridge name='virbr-red' stp='off'/>
  <mac address='52:54:00:11:22:33'/>
  <domain name='red.example'/>
  <dns>
    <forwarder domain='corp.example' addr='192.0.2.9'/>
    <txt name='note.red.example' value='text'/>
    <srv service='ldap' protocol='tcp' domain='red.example' target='anna.red.example' port='389'/>
    <host ip='10.0.0.9'><hostname>printer</hostname></host>
  </dns>
  <ip address='10.0.0.1' netmask='255.255.255.0'>
    <tftp root='/run/lab'/>
    <dhcp>
      <range start='10.0.0.100' end='10.0.0.199'/>
      <host mac='52:54:00:00:00:01' name='anna' ip='10.0.0.7'/>
      <bootp file='boot' server='10.0.0.1'/>
    </dhcp>
  </ip>
  <ip family='ipv6' address='fd00::1' prefix='64'>
    <dhcp><host id='0:3:0:1:52:54:0:0:0:1' name='dora' ip='fd00::7'/></dhcp>
  </ip>
  <route address='10.7.0.0' prefix='16' gateway='10.0.0.2'/>
  <portgroup name='gold'/>
  <dnsmasq:options><dnsmasq:option value='dhcp-option=42,10.0.0.9'/></dnsmasq:options>
</network>
"""

#: Words with which the lines of a dnsmasq configuration of ours may begin.
WORDS = frozenset(
    {
        *("#", "pid-file", "log-facility", "user", "bind-interfaces", "interface"),
        *("except-interface", "no-hosts", "no-poll", "no-resolv", "strict-order", "port"),
        *("servers-file", "addn-hosts", "domain", "expand-hosts", "domain-needed", "txt-record"),
        *("srv-host", "enable-tftp", "tftp-root", "dhcp-hostsfile", "dhcp-optsfile"),
        *("dhcp-leasefile", "dhcp-range", "dhcp-boot", "dhcp-no-override", "dhcp-authoritative"),
        *("dhcp-lease-max", "enable-ra", "ra-param"),
    }
)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Give one host for all attacks."""
    with Host() as machine:
        yield machine


@pytest.fixture(scope="module")
def daemon(host: Host) -> Iterator[Daemon]:
    """Give one daemon for all attacks: it must live through them."""
    with Daemon(host) as jackfieldd:
        yield jackfieldd


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    """Give a client; afterwards the daemon must be alive and the host as it was."""
    pid = daemon.pid
    one = Client(daemon.api_socket.parent)
    yield one
    assert pid == daemon.pid
    left = [item["uuid"] for item in one.request("GET", "/v1/ports")]
    for uuid in left:
        one.request("DELETE", f"/v1/ports/{uuid}")
    for network in one.request("GET", "/v1/networks"):
        left.append(network["name"])
        if network["active"]:
            one.request("POST", f"/v1/networks/{network['uuid']}/stop")
        one.request("DELETE", f"/v1/networks/{network['uuid']}")
    # Taken away all the same, so that only one test fails.
    assert [] == left
    expect_nothing_left(daemon)


def expect_nothing_left(daemon: Daemon) -> None:
    """Assert that the host has nothing of any network."""
    host = daemon.host
    assert {"lo"} == host.links()
    assert [] == host.processes("dnsmasq")
    services = host.file(f"{RUN_DIR}/dnsmasq")
    assert not services.exists() or [] == list(services.iterdir())
    assert not host.file(EVIL).exists()
    chains = {item["chain"]["name"] for item in host.nft() if "chain" in item}
    assert chains <= {"forward", "input", "prerouting", "postrouting", "output"}


def ask(client: Client, path: str, body: object, **query: str) -> Any:
    """Return the answer to a request, or the error with which it is refused."""
    try:
        return client.request("POST", path, body, query=query)
    except JackfieldError as error:
        return error


def refusal(client: Client, document: str | bytes, **query: str) -> JackfieldError:
    """Return the error with which a document is refused, which must be the document's fault."""
    error = ask(client, "/v1/networks", document, **query)
    assert isinstance(error, JackfieldError), f"accepted: {document[:300]!r}"
    assert error.http_status < 500, error
    assert error.message
    return error


LAUGHS = "".join(f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" for n in range(1, 10))


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (
            f"<!DOCTYPE n [<!ENTITY l0 'ha'>{LAUGHS}]><network><name>&l9;</name></network>",
            "DOCTYPE",
        ),
        ("<!DOCTYPE network><network><name>red</name></network>", "DOCTYPE"),
        (
            "<!DOCTYPE n [<!ENTITY x SYSTEM 'file:///etc/shadow'>]><network><name>&x;</name></network>",
            "DOCTYPE",
        ),
        (
            "<!DOCTYPE n SYSTEM 'http://192.0.2.1/evil.dtd'><network><name>red</name></network>",
            "DOCTYPE",
        ),
        ("<network><name>&undefined;</name></network>", "undefined"),
        (
            "<?xml version='1.0' encoding='utf-16'?><!DOCTYPE n [<!ENTITY x 'y'>]>"
            "<network><name>&x;</name></network>".encode("utf-16").decode("latin-1"),
            "",
        ),
        ("<network>" + "<a>" * 10_000 + "</a>" * 10_000 + "</network>", "depth"),
        ("<network><name>red</name>" + "<ip" * 5, "line 1"),
        ("<network><name>r\0d</name></network>", ""),
        ("<network a='1' a='2'/>", "line 1"),
        ("<domain><name>red</name></domain>", "<domain>"),
        ("[" * 100_000, ""),
        ('{"name": "red", "name": ' + "[" * 50_000, ""),
        ('{"mode": "nat", "name": 7}', "name"),
        ("", ""),
    ],
)
def test_documents_that_are_none(client: Client, daemon: Daemon, document: str, said: str) -> None:
    """Entities, doctypes, depth and nonsense are refused at both doors."""
    raw = document.encode("latin-1") if "\xff\xfe" in document else document.encode()
    error = refusal(client, raw)
    assert said.lower() in error.message.lower()
    assert "root:" not in error.message
    daemon.host.file("/run/lab/bad.xml").write_bytes(raw)
    result = daemon.cli("define", "/run/lab/bad.xml", check=False)
    assert result.returncode in (2, 3)
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("jackfield: error: ")


@pytest.mark.parametrize(
    "padding", ["<!--" + "x" * (50 << 20) + "-->", "<a b='" + "x" * (50 << 20)]
)
def test_fifty_megabytes(client: Client, daemon: Daemon, padding: str) -> None:
    """A body longer than any document is refused, announced or not, before it is read."""
    error = refusal(client, f"<network>{padding}")
    assert "request-too-large" == error.name
    daemon.host.file("/run/lab/big.xml").write_text(f"<network>{padding}")
    result = daemon.cli("define", "/run/lab/big.xml", check=False)
    assert result.returncode in (2, 3)
    assert "longer" in result.stderr
    daemon.host.file("/run/lab/big.xml").unlink()


#: Texts that would mean something else in a file, a path or a command.
TEXTS = {
    "newline": f"x\n{OPTION}",
    "return": f"x\r{OPTION}",
    "nul": f"x\0{OPTION}",
    "escape": "x\x1b[2J",
    "separator": f"x\u2028{OPTION}",
    "next line": f"x\u0085{OPTION}",
    "surrogate": "x\udc80",
    "quote": f'x"\n{OPTION}',
    "quotes": f'x",{OPTION}',
    "comma": f"x,{OPTION}",
    "comment": f"x # {OPTION}",
    "parent": "../../../run/lab/evil",
    "root": EVIL,
    "place": "@DIR@/pid\\n@STATE@/x",
    "place2": f"pid-file=@DIR@/../../{OPTION}",
    "percent": "virbr%d%n%s",
    "space": "a b",
    "shell": "$(touch /run/lab/evil); `touch /run/lab/evil`",
    "overlong": "x" * 5000,
    "dots": "..",
    "dot": ".",
    "dotted": ".".join(["label"] * 60),
    "option": "--conf-file=/run/lab/evil",
    "bell": "x\x7fy",
}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every text in a JSON value."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from leaves(one, (*path, key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from leaves(one, (*path, index))
    elif isinstance(value, str):
        yield path


def replaced(value: Any, path: tuple[Any, ...], text: str) -> Any:
    """Return a copy with another text at ``path``."""
    result = copy.deepcopy(value)
    place = result
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = text
    return result


def model(daemon: Daemon) -> Any:
    """Return RED as the JSON of the model, uuid left out."""
    value = daemon.cli("convert", daemon.document(RED), "--to", "json")
    parsed = json.loads(value)
    parsed.pop("uuid", None)
    return parsed


def test_no_text_of_a_document_becomes_anything_else(client: Client, daemon: Daemon) -> None:
    """Each text of a document in turn is each hostile text: refused by name, or only a text."""
    original = model(daemon)
    paths = list(leaves(original))
    assert 25 <= len(paths)
    accepted = []
    for path in paths:
        key = next(step for step in reversed(path) if isinstance(step, str))
        for kind, text in TEXTS.items():
            document = json.dumps(replaced(original, path, text))
            answer = ask(client, "/v1/networks", document, apply="1")
            if isinstance(answer, JackfieldError):
                # A directory that is not there is for dnsmasq to say.
                absent = key == "tftp_root" and answer.name == "service-error"
                assert absent or answer.http_status in (400, 409), (path, kind, answer)
                malformed = answer.name == "malformed-document"
                named = malformed or is_named(answer.message, key, text)
                assert named, (path, kind, answer.message)
                continue
            name = answer["network"]["name"]
            accepted.append((path, kind))
            assert not set(text) & set("\0\n\r\x1b\x7f\u0085\u2028\udc80"), (path, kind)
            expect_own_lines(daemon, text)
            client.request("POST", f"/v1/networks/{quote(name)}/stop")
            client.request("DELETE", f"/v1/networks/{quote(name)}")
            expect_nothing_left(daemon)
    # What may hold any words: names of networks, portgroups, files, texts.
    assert accepted


def is_named(message: str, key: str, text: str) -> bool:
    """Tell whether a message says which element, or which text, is at fault."""
    shown = (text[:20], repr(text)[1:20], json.dumps(text)[1:20])
    words = (key, key.replace("_", "-"), key.replace("_", " ").rstrip("s"), *shown)
    return any(word in message for word in words)


def expect_own_lines(daemon: Daemon, text: str) -> None:
    """Assert that the running dnsmasq's files hold nothing but lines of ours."""
    (directory,) = daemon.host.file(f"{RUN_DIR}/dnsmasq").iterdir()
    lines = (directory / "config").read_text().splitlines()
    for line in lines:
        word = line.partition("=")[0].split(" ")[0]
        assert word in WORDS or "dhcp-option=42,10.0.0.9" == line or text in line, line
    assert ["log-facility=-"] == [line for line in lines if line.startswith("log-facility")]
    assert [f"pid-file={RUN_DIR}/dnsmasq/{directory.name}/pid"] == [
        line for line in lines if line.startswith("pid-file")
    ]
    assert not daemon.host.file(EVIL).exists()


@pytest.mark.parametrize(
    ("element", "inside"),
    [
        ("name", "<name>{}</name>"),
        ("bridge", "<name>red</name><bridge name='{}'/>"),
        ("domain", "<name>red</name><domain name='{}'/>"),
        ("forwarder", "<name>red</name><dns><forwarder domain='{}'/></dns>"),
        ("txt", "<name>red</name><dns><txt name='{}' value='x'/></dns>"),
        ("txt", "<name>red</name><dns><txt name='x' value='{}'/></dns>"),
        ("srv", "<name>red</name><dns><srv service='{}' protocol='tcp'/></dns>"),
        ("srv", "<name>red</name><dns><srv service='x' protocol='tcp' domain='{}'/></dns>"),
        (
            "hostname",
            "<name>red</name><dns><host ip='10.0.0.9'><hostname>{}</hostname></host></dns>",
        ),
        ("host", "<name>red</name>@<dhcp><host mac='52:54:00:00:00:01' name='{}'/></dhcp>"),
        ("host", "<name>red</name>@<dhcp><host id='{}' name='x'/></dhcp>"),
        ("bootp", "<name>red</name>@<dhcp><bootp file='{}'/></dhcp>"),
        ("bootp", "<name>red</name>@<dhcp><bootp file='x' server='{}'/></dhcp>"),
        ("tftp", "<name>red</name>@<tftp root='{}'/>"),
        ("forward", "<name>red</name><forward mode='nat' dev='{}'/>"),
        ("interface", "<name>red</name><forward mode='nat'><interface dev='{}'/></forward>"),
        ("portgroup", "<name>red</name><portgroup name='{}'/>"),
    ],
)
def test_a_line_break_in_xml_names_its_element(client: Client, element: str, inside: str) -> None:
    """A character reference for a line break is refused wherever a text ends in a file."""
    before, at, within = inside.partition("@")
    ip = f"<ip address='10.0.0.1' prefix='24'>{within}</ip>" if at else ""
    document = f"<network>{before}{ip}</network>".replace("{}", f"x&#10;{OPTION}")
    error = refusal(client, document, apply="1")
    assert f"<{element}>" in error.message
    assert "line 1" in error.message


@pytest.mark.parametrize(
    "option",
    [
        f"dhcp-script={EVIL}",
        f"conf-file={EVIL}",
        f"log-facility={EVIL}",
        f"addn-hosts={EVIL}",
        f"dhcp-leasefile={EVIL}",
        "user=root",
        f"--dhcp-script={EVIL}",
        f' "dhcp-script"={EVIL}',
        f"dhcp-script ={EVIL}",
        f"txt-record=a,b&#10;dhcp-script={EVIL}",
        "tftp-root=/",
        "enable-dbus",
        "bind-dynamic",
    ],
)
def test_options_that_reach_out_are_refused(client: Client, option: str) -> None:
    """dnsmasq is not made to run, read or write anything, nor to be somebody else."""
    document = RED.replace("dhcp-option=42,10.0.0.9", option.replace('"', "&quot;"))
    error = refusal(client, document, apply="1")
    assert "option" in error.message


BAD_DEVICES = [
    *(
        "a/b",
        "../x",
        "a b",
        "tap%d",
        "%n",
        "",
        ".",
        "..",
        "x" * 16,
        "tap\n0",
        "tap\0",
        "täp0é",
        "a:1",
    ),
    *("lo", "all", "default"),
]


@pytest.mark.parametrize("field", ["tap", "ifname", "netns", "name", "mac", "portgroup"])
def test_attach_requests(client: Client, daemon: Daemon, field: str) -> None:
    """Names of devices and namespaces are only that; what is refused leaves nothing."""
    host = daemon.host
    client.request("POST", "/v1/networks", RED, query={"apply": "1"})
    before = host.links()
    guest = host.guest(f"guest-{field}")
    host.file("/run/lab/not-a-namespace").write_text("")
    bad = {
        "tap": BAD_DEVICES,
        "ifname": BAD_DEVICES,
        "netns": [
            *("../lab/not-a-namespace", "../../etc/passwd", "..", ".", "", "a/b", "x\0", "x\ny"),
            *("/etc/passwd", "/run/lab/not-a-namespace", "/nowhere", "/dev/null", "/proc/1/ns/mnt"),
            *("/proc/self/ns/net", "x" * 5000),
        ],
        "name": ["x\ny", "x\0", "x\x1b[2J"],
        "mac": ["x", "52:54:00:00:00", "01:00:5e:00:00:01", "52:54:00:00:00:0g", "", "\n"],
        "portgroup": ["silver", "x\ny", "../x", ""],
    }[field]
    for text in bad:
        body: dict[str, object] = {"netns": guest.name, "ifname": "eth0", field: text}
        if field == "tap":
            body = {"tap": text}
        error = ask(client, "/v1/networks/red/ports", body)
        assert isinstance(error, JackfieldError), f"{field} {text!r} was accepted: {error}"
        assert error.http_status in (400, 404, 409, 500), (field, text, error)
        assert "internal-error" != error.name, (field, text, error)
        assert error.message, text
        assert before == host.links(), (field, text)
        assert {"lo"} == guest.links(), (field, text)
    result = daemon.cli("attach", "red", "--tap", "a/b", check=False)
    assert 3 == result.returncode
    assert "a/b" in result.stderr
    guest.delete()
    client.request("POST", "/v1/networks/red/stop")
    client.request("DELETE", "/v1/networks/red")


@pytest.mark.parametrize(
    "target",
    [
        "/v1/networks/..%2f..%2f..%2fetc%2fpasswd",
        "/v1/networks/%00",
        "/v1/networks/%0a/start",
        "/v1/networks/" + "x" * 20_000,
        "/v1/networks/%ff%fe",
        "/../../etc/passwd",
        "/v1/ports/%2e%2e",
        "/v1/events?since=99999999999999999999999",
        "/v1/networks?apply=%00",
    ],
)
def test_paths(client: Client, target: str) -> None:
    """Addresses are looked up, never opened; every refusal has the one shape."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(client.path)
        head = f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    head_text, _, body = answer.partition(b"\r\n\r\n")
    status = int(head_text.split()[1])
    assert b"root:" not in answer
    assert status in (200, 400, 404, 405, 414, 431), answer[:300]
    if status != 200:
        assert json.loads(body)["error"]["message"]


def test_the_daemon_serves_on(host: Host, daemon: Daemon) -> None:
    """After all that it makes a network that works."""
    daemon.cli("apply", daemon.document(RED))
    guest = host.guest("last")
    daemon.cli("attach", "red", "--netns", "last", "--ifname", "eth0")
    guest.run(["ip", "addr", "add", "10.0.0.5/24", "dev", "eth0"])
    assert ping(guest, "10.0.0.1", tries=5) is not None
    daemon.cli("detach", "last")
    daemon.cli("stop", "red")
    daemon.cli("undefine", "red")
    expect_nothing_left(daemon)


@hypothesis.settings(
    max_examples=30, suppress_health_check=[hypothesis.HealthCheck.too_slow], deadline=None
)
@hypothesis.given(network=definitions().filter(lambda one: one.mode.is_routed))
def test_dnsmasq_reads_only_what_was_meant(network: Network) -> None:
    """Whatever texts a definition holds, its files are lines of ours that dnsmasq understands."""
    network = msgspec.structs.replace(network, uuid=RED_UUID)
    if network.mtu is not None:
        # With IPv6 less is refused before dnsmasq comes into it.
        network = msgspec.structs.replace(network, mtu=max(network.mtu, 1280))
    try:
        service = dnsmasq_service(network, InterfaceName("virbr-red"), user="nobody")
    except (InvalidRequest, UnsupportedConfiguration):
        return
    if service is None:
        return
    own = len(network.dnsmasq_options)
    with tempfile.TemporaryDirectory() as folder:
        files = DnsmasqFiles.of(Path(folder), Path(folder), service.network)
        files.make()
        texts = files.texts(service, ["192.0.2.53"])
        foreign = [
            line
            for line in texts["config"].splitlines()
            if line.partition("=")[0].split(" ")[0] not in WORDS
        ]
        assert len(foreign) <= own
        for name, text in texts.items():
            assert not set(text) & set("\r\0\x0b\x0c\x1b\x7f"), name
        files.write("config", texts["config"])
        result = subprocess.run(
            ["/usr/sbin/dnsmasq", "--test", f"--conf-file={files.config}"],
            capture_output=True,
            text=True,
            check=False,
        )
    if not own:
        assert "dnsmasq: syntax check OK." == result.stderr.strip(), texts["config"]
