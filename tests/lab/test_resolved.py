"""The host itself resolves the names of a network whose domain is registered.

::

    host   systemd-resolved ── virbr-red 10.0.0.1, fd00::1 (dnsmasq) ── guest
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.daemon import Daemon
from tests.lab.host import Host
from tests.lab.namespace import CommandFailed
from tests.lab.resolved import Resolved, skip_reason
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

RED = """<network><name>red</name><bridge name='virbr-red' stp='off' delay='0'/>
<domain name='red.example' {how}/>
<dns><host ip='10.0.0.9'><hostname>printer.red.example</hostname></host></dns>
<ip address='10.0.0.1' netmask='255.255.255.0'/><ip family='ipv6' address='fd00::1' prefix='64'/>
</network>"""
REGISTERED = RED.format(how="localOnly='yes' register='yes'")
NAME = "printer.red.example"


@pytest.fixture
def resolved(host: Host) -> Resolved:
    """Give a host with a bus and, once it is started, systemd-resolved."""
    if (reason := skip_reason()) is not None:
        pytest.skip(reason)
    return Resolved(host)


@pytest.fixture
def daemon(host: Host, resolved: Resolved) -> Iterator[Daemon]:
    """Give a daemon beside it."""
    assert resolved.host is host
    with Daemon(host) as running:
        yield running


def problem(daemon: Daemon) -> str | None:
    """Return what the network says is wrong."""
    (network,) = daemon.cli("list", json=True)
    found: str | None = network["problem"]
    return found


def test_registered(daemon: Daemon, resolved: Resolved) -> None:
    """Names are resolved as long as the document says so, whoever is restarted."""
    resolved.start()
    daemon.cli("apply", daemon.document(REGISTERED))
    assert resolved.domains("virbr-red") == "~red.example"
    # It asks nobody at a link without a carrier.
    daemon.host.guest("guest")
    daemon.cli("attach", "red", "--netns", "guest", "--ifname", "eth0")
    assert resolved.addresses(NAME) == {"10.0.0.9"}
    resolved.stop()
    resolved.start()
    assert resolved.addresses(NAME) == {"10.0.0.9"}
    daemon.kill9()
    daemon.start()
    daemon.cli("apply", daemon.document(RED.format(how="localOnly='yes'")))
    assert resolved.domains("virbr-red") == ""
    assert resolved.addresses(NAME) == set()
    daemon.cli("apply", daemon.document(REGISTERED))
    assert resolved.addresses(NAME) == {"10.0.0.9"}
    daemon.cli("stop", "red")
    assert resolved.addresses(NAME) == set()
    daemon.cli("start", "red")
    wait_for(lambda: resolved.addresses(NAME) == {"10.0.0.9"}, 10, "the name")


def test_resolver_comes_later(daemon: Daemon, resolved: Resolved) -> None:
    """Without it the network runs and says what is missing; when it comes, it is told."""
    daemon.cli("apply", daemon.document(REGISTERED))
    assert "systemd-resolved does not run" in (problem(daemon) or "")
    daemon.host.guest("guest")
    daemon.cli("attach", "red", "--netns", "guest", "--ifname", "eth0")
    resolved.start()
    wait_for(lambda: resolved.addresses(NAME) == {"10.0.0.9"}, 10, "the name")
    assert problem(daemon) is None


def test_no_circle(host: Host) -> None:
    """A domain for which dnsmasq would ask the host in turn is refused."""
    with Daemon(host) as daemon, pytest.raises(CommandFailed, match="localOnly='yes'"):
        daemon.cli("define", daemon.document(RED.format(how="register='yes'")))
