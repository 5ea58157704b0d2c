"""Kill -9 at every boundary of what limits ports and promises them a rate.

guest in a namespace ─┐
                      ├─ red0 (a routed network with 1000 KiB/s for its guests) ─ host
a client's own tap ───┘
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from jackfield.client import Client
from jackfield.errors import HostError
from jackfield.rpc.procedures import PortRef
from jackfield.rpc.xdr import Parameter, ParameterType
from tests.lab.crash import CrashingDaemon, Operation, crash_everywhere, crash_twice
from tests.lab.daemon import RUN_DIR
from tests.lab.host import Host
from tests.rpc.client import RawClient

pytestmark = pytest.mark.lab

UUID_OF_RED = "6a1c0f6e-1f0c-4b8e-9a57-0d3f6f1b2c3d"
PORT = "00000000-0000-0000-0000-000000000001"
MAC = "52:54:00:aa:bb:01"


def document(average: int = 1000) -> str:
    """Return the network, which has so many KiB/s for its guests."""
    return f"""
    <network>
      <name>red</name><uuid>{UUID_OF_RED}</uuid><forward mode='route'/>
      <bridge name='red0' stp='off'/><mac address='52:54:00:0a:0b:0c'/>
      <bandwidth><inbound average='{average}'/></bandwidth>
      <ip address='10.0.0.1' prefix='24'/>
      <portgroup name='slow'>
        <bandwidth><inbound average='500'/><outbound average='100' burst='300'/></bandwidth>
        <port isolated='yes'/>
      </portgroup>
    </network>
    """


@pytest.fixture
def daemon(host: Host) -> Iterator[CrashingDaemon]:
    """Give a daemon that can be armed, with the network running and the host's limits in view."""
    host.guest("guest")
    with (
        tempfile.TemporaryDirectory(prefix="jackfield-") as state,
        CrashingDaemon(host, Path(state)) as jackfieldd,
    ):
        apply(jackfieldd.client, document())

        def probe() -> Iterator[str]:
            links = sorted(name for name in host.links() if name.startswith(("jf", "red0")))
            for link in links:
                for what in ("class show dev", "filter show dev"):
                    parent = ["parent", "4a46:"] if what.startswith("filter") else []
                    command = ["tc", *what.split(), link, *parent]
                    for line in host.run(command, check=False).stdout.splitlines():
                        yield f"{what} {link}: {line}"
            for line in host.run(["bridge", "fdb", "show"]).stdout.splitlines():
                if "static" in line:
                    yield line

        jackfieldd.probe = probe
        yield jackfieldd


def apply(client: Client, text: str) -> None:
    """Make the network so."""
    client.request("POST", "/v1/networks", text, query={"apply": "1"})


def attach(client: Client) -> None:
    """Plug the guest in, limited both ways and isolated."""
    body = {
        "netns": "guest",
        "ifname": "eth0",
        "mac": MAC,
        "name": "guest",
        "portgroup": "slow",
    }
    client.request("POST", "/v1/networks/red/ports", body)


def detach(client: Client) -> None:
    """Unplug what is plugged in."""
    client.request("DELETE", "/v1/ports/guest")


@contextlib.contextmanager
def libvirt(host: Host) -> Iterator[RawClient]:
    """Give a client of libvirt's protocol; when the daemon dies under it, say so as ours does."""
    try:
        with RawClient(host.file(RUN_DIR) / "libvirt-sock") as client:
            yield client.open()
    except (OSError, AssertionError) as error:
        raise HostError(f"the daemon is gone: {error!r}") from error


def create(host: Host) -> None:
    """Create a client's port that is promised a rate."""
    text = (
        f"<networkport><uuid>{PORT}</uuid><owner><name>guest</name><uuid>{PORT}</uuid></owner>"
        f"<mac address='{MAC}'/><bandwidth><inbound floor='300'/></bandwidth></networkport>"
    )
    with libvirt(host) as client:
        client.call("port_create", client.lookup("red"), text, 0)


def limit(daemon: CrashingDaemon, **values: int) -> None:
    """Give the only port other limits: ``inbound_floor=100``."""
    (port,) = daemon.client.request("GET", "/v1/ports")
    parameters = [
        Parameter(name.replace("_", "."), ParameterType.UINT, value)
        for name, value in values.items()
    ]
    with libvirt(daemon.host) as client:
        reference = PortRef(client.lookup("red"), UUID(port["uuid"]))
        client.call("port_set_parameters", reference, parameters, 0)


def test_a_limited_port(daemon: CrashingDaemon) -> None:
    """A limited guest is plugged in with its limits, or not at all; and so it goes."""
    acts = crash_everywhere(daemon, Operation(do=attach, undo=detach))
    crash_twice(daemon, Operation(do=attach, undo=detach), at=len(acts))
    attach(daemon.client)
    crash_everywhere(daemon, Operation(do=detach, undo=attach))


def test_a_promise(daemon: CrashingDaemon) -> None:
    """A client's port has what it was promised, or is not there."""
    operation = Operation(do=lambda _: create(daemon.host), undo=detach)
    acts = crash_everywhere(daemon, operation)
    crash_twice(daemon, operation, at=len(acts))
    create(daemon.host)
    crash_everywhere(daemon, Operation(do=detach, undo=lambda _: create(daemon.host)))


def test_other_limits(daemon: CrashingDaemon) -> None:
    """Limits are the ones before or the ones after; none is left that nobody asked for."""
    attach(daemon.client)
    former = {"inbound_average": 500, "outbound_average": 100, "outbound_burst": 300}
    crash_everywhere(
        daemon,
        Operation(
            do=lambda _: limit(daemon, inbound_average=200, inbound_floor=100),
            undo=lambda _: limit(daemon, **former),
        ),
    )
    limit(daemon, inbound_floor=100)
    crash_everywhere(
        daemon,
        Operation(
            do=lambda _: limit(daemon, outbound_average=70, inbound_floor=400),
            undo=lambda _: limit(daemon, inbound_floor=100),
        ),
    )


def test_another_rate_of_the_network(daemon: CrashingDaemon) -> None:
    """What is promised stays when the network is given another rate, and when it stops."""
    create(daemon.host)
    crash_everywhere(
        daemon,
        Operation(
            do=lambda client: apply(client, document(2000)),
            undo=lambda client: apply(client, document()),
        ),
    )
    crash_everywhere(
        daemon,
        Operation(
            do=lambda client: client.request("POST", "/v1/networks/red/stop"),
            undo=lambda client: client.request("POST", "/v1/networks/red/start"),
        ),
    )
