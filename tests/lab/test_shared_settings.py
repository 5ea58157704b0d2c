"""Settings of the host that networks share are counted, put back, and not fought over."""

from __future__ import annotations

import pytest

from tests.lab.daemon import Daemon
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

IPV4 = "net/ipv4/ip_forward"
IPV6 = "net/ipv6/conf/all/forwarding"


def document(name: str, number: int, *, mode: str = "nat", ipv6: bool = False) -> str:
    """Return a network's document."""
    more = f"<ip family='ipv6' address='fd00:{number}::1' prefix='64'/>" if ipv6 else ""
    forward = f"<forward mode='{mode}'/>" if mode else ""
    return f"""
    <network>
      <name>{name}</name>{forward}
      <dns enable='no'/>
      <ip address='10.0.{number}.1' prefix='24'/>{more}
    </network>
    """


def forwarding(daemon: Daemon) -> tuple[str, str]:
    """Return whether the host forwards IPv4 and IPv6."""
    return daemon.host.sysctl(IPV4), daemon.host.sysctl(IPV6)


def test_put_back_when_the_last_user_goes(daemon: Daemon) -> None:
    """Forwarding is on while any network needs it, whatever the order, and off again after."""
    for number, (name, ipv6) in enumerate({"one": False, "two": True, "three": False}.items()):
        daemon.cli("define", daemon.document(document(name, number, ipv6=ipv6)))
    daemon.cli("define", daemon.document(document("isolated", 9, mode="", ipv6=True)))
    daemon.cli("start", "isolated")
    assert ("0", "0") == forwarding(daemon)
    daemon.cli("start", "one")
    assert ("1", "0") == forwarding(daemon)
    daemon.cli("start", "two")
    assert ("1", "1") == forwarding(daemon)
    daemon.cli("start", "three")
    daemon.cli("stop", "one")
    assert ("1", "1") == forwarding(daemon)
    daemon.cli("stop", "two")
    assert ("1", "0") == forwarding(daemon)
    daemon.cli("stop", "three")
    assert ("0", "0") == forwarding(daemon)


@pytest.mark.parametrize("crash", [False, True])
def test_counted_over_a_restart(daemon: Daemon, crash: bool) -> None:
    """The next daemon knows who needs what, and what was there before."""
    for number, name in enumerate(("one", "two")):
        daemon.cli("apply", daemon.document(document(name, number, ipv6=True)))
    for name in ("one", "two"):
        assert ("1", "1") == forwarding(daemon)
        if crash:
            daemon.kill9()
            daemon.start()
        else:
            daemon.restart()
        daemon.cli("stop", name)
    assert ("0", "0") == forwarding(daemon)


def test_left_alone_when_it_was_on(daemon: Daemon) -> None:
    """A host that forwarded before us forwards after us."""
    daemon.host.set_sysctl(IPV4, "1")
    daemon.host.set_sysctl(IPV6, "1")
    daemon.cli("apply", daemon.document(document("one", 1, ipv6=True)))
    daemon.cli("stop", "one")
    assert ("1", "1") == forwarding(daemon)


def test_not_put_back_when_somebody_else_changed_it(daemon: Daemon) -> None:
    """What another program has set meanwhile is that program's."""
    daemon.host.set_sysctl(IPV4, "2")
    daemon.cli("apply", daemon.document(document("one", 1)))
    assert ("1", "0") == forwarding(daemon)
    daemon.host.set_sysctl(IPV4, "3")
    daemon.cli("stop", "one")
    assert ("3", "0") == forwarding(daemon)
    # From now on that is the value before us.
    daemon.cli("start", "one")
    daemon.cli("stop", "one")
    assert ("3", "0") == forwarding(daemon)


def problems(daemon: Daemon) -> dict[str, str]:
    """Return what is wrong with each network."""
    return {one["name"]: one["problem"] or "" for one in daemon.cli("list", json=True)}


def test_told_of_when_somebody_turns_it_off(daemon: Daemon) -> None:
    """The networks that need it say so, until it is on again or one is applied."""
    daemon.cli("apply", daemon.document(document("one", 1)))
    daemon.cli("apply", daemon.document(document("two", 2, ipv6=True)))
    daemon.cli("apply", daemon.document(document("isolated", 3, mode="")))
    assert {"one": "", "two": "", "isolated": ""} == problems(daemon)
    daemon.host.set_sysctl(IPV4, "0")
    wait_for(
        lambda: (
            [name for name, text in problems(daemon).items() if "ip_forward is 0" in text]
            == ["one", "two"]
        ),
        10,
        "both to say so",
    )
    daemon.host.set_sysctl(IPV4, "1")
    wait_for(lambda: not any(problems(daemon).values()), 10, "both to be well again")
    daemon.host.set_sysctl(IPV6, "0")
    wait_for(lambda: "forwarding is 0" in problems(daemon)["two"], 10, "the network to say so")
    assert "" == problems(daemon)["one"]
    daemon.cli("apply", "two")
    assert "" == problems(daemon)["two"]
    assert ("1", "1") == forwarding(daemon)


def test_put_back_when_a_start_fails(daemon: Daemon) -> None:
    """A start that fails half way takes back what it had set."""
    daemon.host.run(["nft", "add", "table", "inet", "jackfield"])
    result = daemon.cli("apply", daemon.document(document("one", 1, ipv6=True)), check=False)
    assert 5 == result.returncode
    assert "inet jackfield" in result.stderr
    assert ("0", "0") == forwarding(daemon)
    assert {"lo"} == daemon.host.links()
    assert [] == daemon.cli("list", json=True)


def test_changed_mode_releases(daemon: Daemon) -> None:
    """An applied document that needs no forwarding any more gives it back at once."""
    daemon.cli("apply", daemon.document(document("one", 1, ipv6=True)))
    daemon.cli("apply", daemon.document(document("one", 1, mode="", ipv6=True)))
    assert ("0", "0") == forwarding(daemon)
    daemon.cli("apply", daemon.document(document("one", 1)))
    assert ("1", "0") == forwarding(daemon)
    daemon.cli("stop", "one")
    assert ("0", "0") == forwarding(daemon)
