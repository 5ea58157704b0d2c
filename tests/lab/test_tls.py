"""The libvirt door over TLS, between two machines, with the real virsh.

::

    outside 192.0.2.1 (virsh) ── LAN ── 192.0.2.10 host (jackfieldd)
"""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.daemon import Daemon
from tests.lab.host import Host
from tests.lab.libvirtd import skip_reason, use_stock_programs
from tests.lab.test_service import NOBODY, capabilities_of_unit, confined
from tests.lab.wait import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("uplink")]

ADDRESS = "192.0.2.10"
PORT = 16514
PKI = "/run/lab/pki"
RED = """
<network>
  <name>red</name>
  <bridge name='virbr-red'/>
  <ip address='10.0.0.1' netmask='255.255.255.0'/>
</network>
"""


def openssl(directory: Path, *arguments: str) -> None:
    """Run openssl in ``directory``."""
    subprocess.run(
        ["openssl", *arguments], cwd=directory, check=True, stderr=subprocess.DEVNULL, timeout=60
    )


def authority(directory: Path, name: str) -> None:
    """Make an authority's key and certificate, ``NAME.key`` and ``NAME.pem``."""
    openssl(
        directory,
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
    )


def certificate(
    directory: Path, signer: str, name: str, subject: str, purpose: str, days: int = 2
) -> None:
    """Make a key and a certificate of an authority."""
    (directory / f"{name}.ext").write_text(
        "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,"
        f"keyEncipherment\nextendedKeyUsage={purpose}\nsubjectAltName=IP:{ADDRESS}\n"
    )
    openssl(
        directory,
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject),
    )
    # Not x509, which from OpenSSL 3.5 on makes none that has expired.
    (directory / "issued.db").write_text("")
    (directory / "issue.cnf").write_text(
        "[ca]\ndefault_ca=ours\n[ours]\ndatabase=issued.db\nnew_certs_dir=.\nrand_serial=yes\n"
        "default_md=sha256\npolicy=any\n[any]\norganizationName=optional\ncommonName=supplied\n"
    )
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    openssl(
        directory,
        *("ca", "-batch", "-notext", "-preserveDN", "-config", "issue.cnf", "-in", f"{name}.csr"),
        *("-cert", f"{signer}.pem", "-keyfile", f"{signer}.key", "-extfile", f"{name}.ext"),
        *("-startdate", "20200101000000Z", "-enddate", f"{end:%Y%m%d%H%M%SZ}"),
        *("-out", f"{name}.pem"),
    )


def revoke(directory: Path, signer: str, *names: str) -> Path:
    """Make the authority's list of revoked certificates, and return its path."""
    (directory / "revoked.db").write_text("")
    (directory / "revoked.cnf").write_text(
        "[ca]\ndefault_ca=ours\n[ours]\ndatabase=revoked.db\ndefault_md=sha256\n"
        "default_crl_days=2\ncrlnumber=number\n"
    )
    number = directory / "number"
    if not number.exists():
        number.write_text("01")
    common = ("-config", "revoked.cnf", "-keyfile", f"{signer}.key", "-cert", f"{signer}.pem")
    for name in names:
        openssl(directory, "ca", *common, "-revoke", f"{name}.pem")
    openssl(directory, "ca", *common, "-gencrl", "-out", "cacrl.pem")
    return directory / "cacrl.pem"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder of certificates: of two authorities, a server and clients."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    directory = tmp_path_factory.mktemp("pki")
    authority(directory, "ca")
    authority(directory, "other")
    certificate(directory, "ca", "server", "/O=Lab/CN=server", "serverAuth")
    certificate(directory, "ca", "anna", "/O=Lab/CN=anna", "clientAuth")
    certificate(directory, "ca", "bob", "/O=Lab/CN=bob", "clientAuth")
    certificate(directory, "other", "eve", "/O=Lab/CN=anna", "clientAuth")
    return directory


def put_certificates(host: Host, pki: Path) -> Path:
    """Put what the daemon needs where its configuration says; return that folder."""
    directory = host.file(PKI)
    directory.mkdir()
    for name in ("ca.pem", "server.pem", "server.key"):
        shutil.copy(pki / name, directory / name)
    return directory


@pytest.fixture
def server(host: Host, pki: Path) -> Iterator[Daemon]:
    """Give a daemon that listens for TLS on the host, and lets anna in."""
    if (reason := skip_reason()) is not None:
        pytest.skip(reason)
    put_certificates(host, pki)
    config = f"""
    libvirt_tls = "{ADDRESS}"
    tls_ca_file = "{PKI}/ca.pem"
    tls_crl_file = "{PKI}/cacrl.pem"
    tls_cert_file = "{PKI}/server.pem"
    tls_key_file = "{PKI}/server.key"
    tls_allowed_dn_list = ["O=Lab,CN=ann?"]
    """
    with Daemon(host, config=config) as daemon:
        yield daemon


def virsh(machine: Host, pki: Path, who: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run virsh on another machine, as ``who``."""
    directory = machine.file(f"/run/lab/{who}")
    if not directory.exists():
        directory.mkdir()
        shutil.copy(pki / "ca.pem", directory / "cacert.pem")
        shutil.copy(pki / f"{who}.pem", directory / "clientcert.pem")
        shutil.copy(pki / f"{who}.key", directory / "clientkey.pem")
    uri = f"network+tls://{ADDRESS}/system?pkipath=/run/lab/{who}"
    return machine.run(["virsh", "-q", "-c", uri, *command], check=False)


def test_virsh_from_another_machine(outside: Host, server: Daemon, pki: Path) -> None:
    """Who is on the list defines and starts networks; others are refused before anything."""
    use_stock_programs(outside)
    outside.file("/run/lab/red.xml").write_text(RED)
    for command in (("net-define", "/run/lab/red.xml"), ("net-start", "red")):
        result = virsh(outside, pki, "anna", *command)
        assert 0 == result.returncode, result
    assert "red" == virsh(outside, pki, "anna", "net-list", "--name").stdout.strip()
    assert [("red", True)] == [
        (item["name"], item["active"]) for item in server.cli("list", json=True)
    ]
    assert "virbr-red" in server.host.links()
    (entry,) = [item for item in server.log() if "start network red" in item["message"]]
    assert "O=Lab,CN=anna at 192.0.2.1" in entry["message"]
    bob = virsh(outside, pki, "bob", "net-list")
    assert bob.returncode
    assert "red" not in bob.stdout
    assert any("O=Lab,CN=bob at 192.0.2.1" in item["message"] for item in server.log())
    eve = virsh(outside, pki, "eve", "net-list")
    assert eve.returncode
    options = RED.replace(
        "<network>", "<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>"
    ).replace(
        "</network>", "<dnsmasq:options><dnsmasq:option value='x'/></dnsmasq:options></network>"
    )
    outside.file("/run/lab/options.xml").write_text(options.replace("red", "blue"))
    refused = virsh(outside, pki, "anna", "net-define", "/run/lab/options.xml")
    assert "only root may" in refused.stderr
    assert "red" == virsh(outside, pki, "anna", "net-list", "--name").stdout.strip()


def test_a_revoked_certificate(outside: Host, server: Daemon, pki: Path) -> None:
    """Whom the authority revokes is refused from then on, with no restart; others are not."""
    use_stock_programs(outside)
    crl = server.host.file(f"{PKI}/cacrl.pem")
    assert 0 == virsh(outside, pki, "anna", "net-list").returncode

    def publish(*names: str) -> None:
        new = crl.with_suffix(".new")
        shutil.copy(revoke(pki, "ca", *names), new)
        new.rename(crl)

    publish("bob")
    assert 0 == virsh(outside, pki, "anna", "net-list").returncode
    publish("bob", "anna")
    refused = virsh(outside, pki, "anna", "net-list")
    assert refused.returncode
    # The refusal is the handshake's: there is no certificate that the list of names could pass.
    assert not any("tls_allowed_dn_list" in item["message"] for item in server.log())
    assert server.process.poll() is None
    # Half a list is none, and takes nothing back.
    crl.write_text(crl.read_text()[:100])
    assert virsh(outside, pki, "anna", "net-list").returncode
    assert any("stays so" in item["message"] for item in server.log())


def test_without_a_certificate(outside: Host, server: Daemon, pki: Path) -> None:
    """No certificate, no TLS, and silence get nothing, and the others are served meanwhile."""
    use_stock_programs(outside)
    with outside.socket(socket.AF_INET, socket.SOCK_STREAM) as silent:
        silent.connect((ADDRESS, PORT))
        context = ssl.create_default_context(cafile=pki / "ca.pem")
        with outside.socket(socket.AF_INET, socket.SOCK_STREAM) as bare:
            bare.settimeout(10)
            bare.connect((ADDRESS, PORT))
            with context.wrap_socket(bare, server_hostname=ADDRESS) as client:
                # Its part of the handshake is over before the server misses its certificate.
                assert b"" == client.recv(1)
        with outside.socket(socket.AF_INET, socket.SOCK_STREAM) as plain:
            plain.settimeout(10)
            plain.connect((ADDRESS, PORT))
            plain.sendall(b"\0\0\0\x1c\x20\0\x80\x86\0\0\0\1\0\0\0\x42" + bytes(12))
            assert b"\1" not in plain.recv(100)[:1]
        assert 0 == virsh(outside, pki, "anna", "net-list").returncode
        # Nobody may keep a place by saying nothing.
        silent.settimeout(1)

        def closed() -> bool:
            try:
                return silent.recv(1) == b""
            except TimeoutError:
                return False

        wait_for(closed, 20, "the silent connection to be ended")
    assert server.process.poll() is None


def serial(outside: Host, pki: Path, who: str) -> str | None:
    """Return the serial number of the certificate that the server shows, ``None`` if it refuses."""
    context = ssl.create_default_context(cafile=pki / "ca.pem")
    context.load_cert_chain(pki / f"{who}.pem", pki / f"{who}.key")
    with outside.socket(socket.AF_INET, socket.SOCK_STREAM) as bare:
        bare.settimeout(10)
        bare.connect((ADDRESS, PORT))
        try:
            with context.wrap_socket(bare, server_hostname=ADDRESS) as client:
                shown = client.getpeercert() or {}
                return str(shown["serialNumber"]) if client.recv(1) == b"\1" else None
        except OSError:
            return None


def test_a_renewed_certificate(outside: Host, server: Daemon, pki: Path) -> None:
    """A certificate counts when it is there with its key, with no restart; half of it does not."""
    directory = server.host.file(PKI)
    before = serial(outside, pki, "anna")
    assert before is not None
    certificate(pki, "ca", "renewed", "/O=Lab/CN=server", "serverAuth")
    shutil.copy(pki / "renewed.pem", directory / "server.pem")
    assert before == serial(outside, pki, "anna")
    told = [item["message"] for item in server.log() if item["level"] == "error"]
    assert [f"cannot serve TLS: {PKI}/server.key: it is not the key of {PKI}/server.pem"] == [
        message.partition(": what was read before")[0] for message in told
    ]
    shutil.copy(pki / "renewed.key", directory / "server.key")
    after = serial(outside, pki, "anna")
    assert after not in (None, before)
    # Whom another authority has signed is let in once that one is named.
    assert serial(outside, pki, "eve") is None
    both = (pki / "ca.pem").read_text() + (pki / "other.pem").read_text()
    (directory / "ca.pem").write_text(both)
    assert after == serial(outside, pki, "eve")
    use_stock_programs(outside)
    assert 0 == virsh(outside, pki, "anna", "net-list").returncode


def test_a_list_that_is_gone(outside: Host, server: Daemon, pki: Path) -> None:
    """Who was revoked stays so when the list is taken away, also when other files change."""
    directory = server.host.file(PKI)
    shutil.copy(revoke(pki, "ca", "anna"), directory / "cacrl.pem")
    assert serial(outside, pki, "anna") is None
    (directory / "cacrl.pem").unlink()
    assert serial(outside, pki, "anna") is None
    (directory / "ca.pem").touch()
    assert serial(outside, pki, "anna") is None
    assert any("cacrl.pem: it is gone: what was read" in item["message"] for item in server.log())


def test_who_is_refused_is_told_of(outside: Host, server: Daemon, pki: Path) -> None:
    """The log says who was not let in, and why: at the client's end there is little to see."""
    assert serial(outside, pki, "eve") is None
    with outside.socket(socket.AF_INET, socket.SOCK_STREAM) as plain:
        plain.settimeout(10)
        plain.connect((ADDRESS, PORT))
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert b"\1" not in plain.recv(100)[:1]
    shutil.copy(revoke(pki, "ca", "anna"), server.host.file(f"{PKI}/cacrl.pem"))
    assert serial(outside, pki, "anna") is None

    def told() -> list[str]:
        messages = [item["message"] for item in server.log()]
        return [message for message in messages if message.startswith("TLS: ")]

    expected = [
        "TLS: certificate of 192.0.2.1 refused: unable to get local issuer certificate",
        "TLS: no handshake with 192.0.2.1: http request",
        "TLS: certificates and the list of revoked ones were read again",
        "TLS: certificate of 192.0.2.1 refused: certificate revoked",
    ]
    wait_for(lambda: told() == expected, 10, "the log to tell")


def test_every_address(host: Host, outside: Host, pki: Path) -> None:
    """Who comes by IPv4 is logged with an address of IPv4."""
    put_certificates(host, pki)
    config = f"""
    libvirt_tls = "*"
    tls_ca_file = "{PKI}/ca.pem"
    tls_cert_file = "{PKI}/server.pem"
    tls_key_file = "{PKI}/server.key"
    """
    with Daemon(host, config=config) as daemon:
        assert serial(outside, pki, "eve") is None
        expected = "certificate of 192.0.2.1 refused"
        wait_for(lambda: expected in daemon.log_text(), 10, "the log to tell")
        assert serial(outside, pki, "anna") is not None
        assert "::ffff:" not in daemon.log_text()


@pytest.mark.parametrize(
    ("signer", "days", "why"),
    [
        ("ca", -1, "certificate has expired"),
        ("other", 2, "unable to get local issuer certificate"),
    ],
)
def test_a_certificate_that_clients_refuse(
    host: Host, pki: Path, signer: str, days: int, why: str
) -> None:
    """The daemon starts, since its networks need it, and says what clients will say."""
    directory = host.file(PKI)
    directory.mkdir()
    certificate(pki, signer, "poor", "/O=Lab/CN=server", "serverAuth", days)
    for name in ("ca.pem", "poor.pem", "poor.key"):
        shutil.copy(pki / name, directory / name)
    config = f"""
    libvirt_tls = "*"
    tls_ca_file = "{PKI}/ca.pem"
    tls_cert_file = "{PKI}/poor.pem"
    tls_key_file = "{PKI}/poor.key"
    """
    with Daemon(host, config=config) as daemon:
        told = [item["message"] for item in daemon.log() if item["level"] == "error"]
    assert [f"TLS: clients will refuse our certificate {PKI}/poor.pem: {why}"] == told


def test_a_key_that_a_service_cannot_read(host: Host, pki: Path) -> None:
    """Root's rights over others' files are not the service's, which is not obvious."""
    directory = put_certificates(host, pki)
    os.chown(directory / "server.key", NOBODY, NOBODY)
    (directory / "server.key").chmod(0o600)
    host.file("/run/lab/c.toml").write_text(f"""
    state_dir = "/run/lab/state"
    libvirt_tls = "*"
    tls_ca_file = "{PKI}/ca.pem"
    tls_cert_file = "{PKI}/server.pem"
    tls_key_file = "{PKI}/server.key"
    """)
    command = [sys.executable, "-m", "jackfield.daemon", "--config", "/run/lab/c.toml"]
    ended = host.run([*confined(capabilities_of_unit()), *command], check=False)
    assert 2 == ended.returncode
    assert f"error: cannot serve TLS: {PKI}/server.key: permission denied" in ended.stderr
    assert f"chown root {PKI}/server.key" in ended.stderr


def test_an_address_that_comes_later(host: Host, outside: Host, pki: Path) -> None:
    """After a boot the daemon may be there before its address: clients reach it with that."""
    put_certificates(host, pki)
    config = f"""
    libvirt_tls = "{ADDRESS}"
    tls_ca_file = "{PKI}/ca.pem"
    tls_cert_file = "{PKI}/server.pem"
    tls_key_file = "{PKI}/server.key"
    """
    host.run(["ip", "address", "del", f"{ADDRESS}/24", "dev", "eth0"])
    with Daemon(host, config=config) as daemon:
        assert any(f"have the address {ADDRESS} yet" in item["message"] for item in daemon.log())
        host.run(["ip", "address", "add", f"{ADDRESS}/24", "dev", "eth0"])
        assert serial(outside, pki, "anna") is not None


def test_an_end_during_a_handshake(outside: Host, server: Daemon) -> None:
    """Who has connected and says nothing does not keep the daemon from ending."""
    with outside.socket(socket.AF_INET, socket.SOCK_STREAM) as silent:
        silent.settimeout(10)
        silent.connect((ADDRESS, PORT))
        server.terminate(timeout=8)
        assert b"" == silent.recv(1)


def test_many_who_say_nothing(outside: Host, server: Daemon, pki: Path) -> None:
    """Of those who are not let in yet only so many are waited for: the first have to go.

    Else anybody who reaches the port could use up the daemon's open files.
    """
    with contextlib.ExitStack() as stack:
        silent = []
        for _ in range(300):
            one = stack.enter_context(outside.socket(socket.AF_INET, socket.SOCK_STREAM))
            one.settimeout(5)
            one.connect((ADDRESS, PORT))
            silent.append(one)
        assert b"" == silent[0].recv(1)
        assert serial(outside, pki, "anna") is not None
        held = server.host.run(["ss", "-Htn", "state", "established", f"sport = :{PORT}"])
        assert 256 >= len(held.stdout.splitlines())
        silent[-1].setblocking(False)
        with pytest.raises(BlockingIOError):
            silent[-1].recv(1)
