"""Kill -9 at every boundary: the switch knows a guest if and only if there is a port.

a (guest) ── macvlan or macvtap ── eth1 ── cable ── VdpSwitch
                                lldpad
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jackfield.client import Client
from tests.lab import lldpad as programs
from tests.lab.crash import CrashingDaemon, Operation, crash_everywhere, crash_twice
from tests.lab.host import Host
from tests.lab.lldpad import Lldpad
from tests.lab.switch import Lan
from tests.lab.vdpswitch import VdpSwitch

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

DOCUMENT = """
<network>
  <name>red</name><uuid>6a1c0f6e-1f0c-4b8e-9a57-0d3f6f1b2c3d</uuid>
  <forward mode='vepa'><interface dev='eth1'/></forward>
  <virtualport type='802.1Qbg'>
    <parameters managerid='11' typeid='1193046' typeidversion='1'/>
  </virtualport>
</network>
"""
GUEST = {"name": "guest", "guest": "00000000-0000-0000-0000-000000000005"}
MAC = "52:54:00:aa:bb:01"


def attach_netns(client: Client) -> None:
    """Plug the guest's namespace in."""
    body = {"netns": "guest", "ifname": "eth0", "mac": MAC, **GUEST}
    client.request("POST", "/v1/networks/red/ports", body)


def attach_tap(client: Client) -> None:
    """Plug a macvtap in."""
    client.request("POST", "/v1/networks/red/ports", {"tap": "tap0", "mac": MAC, **GUEST})


def detach(client: Client) -> None:
    """Unplug what is plugged in."""
    client.request("DELETE", "/v1/ports/guest")


@pytest.fixture
def daemon(host: Host, lan: Lan) -> Iterator[CrashingDaemon]:
    """Give a daemon that can be armed, on a host whose uplink has a switch at its other end."""
    reason = programs.skip_reason()
    if reason is not None:
        pytest.skip(reason)
    port = lan.plug(host, "eth1")
    host.guest("guest")
    with (
        tempfile.TemporaryDirectory(prefix="jackfield-") as state,
        VdpSwitch(lan.namespace, port) as switch,
        Lldpad(host, "eth1"),
        CrashingDaemon(host, Path(state)) as jackfieldd,
    ):
        jackfieldd.probe = lambda: [f"the switch knows {one}" for one in switch.associated.values()]
        jackfieldd.client.request("POST", "/v1/networks", DOCUMENT, query={"apply": "1"})
        yield jackfieldd


@pytest.mark.parametrize("attach", [attach_netns, attach_tap])
def test_attach(daemon: CrashingDaemon, attach: Callable[[Client], None]) -> None:
    """A port is there and the switch knows it, or neither."""
    acts = crash_everywhere(daemon, Operation(do=attach, undo=detach))
    assert any("lldpad: associate" in act for act in acts)
    crash_twice(daemon, Operation(do=attach, undo=detach), at=len(acts))


@pytest.mark.parametrize("attach", [attach_netns, attach_tap])
def test_detach(daemon: CrashingDaemon, attach: Callable[[Client], None]) -> None:
    """The same when it goes."""
    attach(daemon.client)
    acts = crash_everywhere(daemon, Operation(do=detach, undo=attach))
    assert any("lldpad: de-associate" in act for act in acts)
