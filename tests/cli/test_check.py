"""``jackfield check`` of a guest, against a real daemon.

host ── jackfieldd ── red (NAT, virbr7) with portgroup "two" of two ports
                   └─ blue (isolated), defined and not running
"""

from __future__ import annotations

import pytest

from tests.lab.daemon import Daemon

RED = """
<network>
  <name>red</name>
  <forward mode='nat'/>
  <bridge name='virbr7' stp='off'/>
  <portgroup name='two' default='yes' count='2'/>
  <ip address='192.168.7.1' prefix='24'/>
</network>
"""
BLUE = "<network><name>blue</name><ip address='192.168.8.1' prefix='24'/></network>"


def interface(network: str) -> str:
    """Return a guest's interface on a network."""
    return f"<interface type='network'><source network='{network}'/></interface>"


def guest(*networks: str) -> str:
    """Return a guest with an interface on each network."""
    devices = "".join(map(interface, networks))
    return f"<domain type='kvm'><name>vm</name><devices>{devices}</devices></domain>"


@pytest.mark.lab
def test_a_guest_is_told_what_it_would_get(daemon: Daemon) -> None:
    """Per interface: the portgroup and plug, or why there is none; and nothing is allocated."""
    daemon.cli("apply", daemon.document(RED))
    daemon.cli("define", daemon.document(BLUE))

    told = daemon.cli("check", daemon.document(guest("red")))
    assert ["network red: yes", "  portgroup: two", "  plug: bridge virbr7"] == told.splitlines()

    # The third does not fit beside the first two of the same guest.
    document = daemon.document(guest("red", "red", "red", "blue", "green"))
    refused = daemon.cli("check", document, check=False)
    assert 5 == refused.returncode
    answers = [line for line in refused.stdout.splitlines() if line.startswith("network")]
    assert ["yes", "yes", "no", "no", "no"] == [line.split(": ")[1] for line in answers]
    assert "2/2" in refused.stdout
    assert "network 'blue' is not active" in refused.stdout
    assert "there is no network 'green'" in refused.stdout
    assert "3 of 5 interfaces would get no port here" in refused.stderr
    assert [] == daemon.cli("ports", json=True)


@pytest.mark.lab
def test_a_full_portgroup_refuses_the_next_port(daemon: Daemon) -> None:
    """What ``check`` foretells is what ``attach`` does."""
    daemon.cli("apply", daemon.document(RED))
    daemon.cli("attach", "red", "--tap", "t1")
    daemon.cli("attach", "red", "--tap", "t2")
    full = daemon.cli("attach", "red", "--tap", "t3", check=False)
    assert 5 == full.returncode
    assert "2/2" in full.stderr
    assert daemon.host.link("t3") is None
    daemon.cli("detach", "t1")
    daemon.cli("attach", "red", "--tap", "t3")


@pytest.mark.lab
def test_validate_refuses_what_would_be_passed_over(daemon: Daemon) -> None:
    """An element that no format has is ignored, as libvirt does, unless the schema is asked."""
    misspelt = daemon.document(BLUE.replace("<ip ", "<ipp/><ip "))
    for command in ("define", "apply"):
        refused = daemon.cli(command, misspelt, "--validate", check=False)
        assert 3 == refused.returncode
        assert "ipp" in refused.stderr
    assert [] == daemon.cli("list", json=True)
    daemon.cli("define", misspelt)
