"""The tour: three networks and four guests on one host, with a machine outside to talk to.

::

    outside 203.0.113.1 ── LAN 192.0.2.0/24 ── eth0 192.0.2.10  host
                                                ├─ default (NAT)       anna, bert
                                                ├─ lab     (isolated)  carla
                                                └─ routed  (routed)    doro
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack

from demo.documents import DEFAULT, LAB, ROUTED
from tests.lab.daemon import Daemon
from tests.lab.dns import resolve
from tests.lab.flow import EchoServer
from tests.lab.guest import Guest
from tests.lab.host import Host
from tests.lab.namespace import Namespace
from tests.lab.packets import ask_udp, ping
from tests.lab.switch import Lan, add_address

PLACES = (
    ("anna", "default", "52:54:00:00:00:01"),
    ("bert", "default", "52:54:00:00:00:02"),
    ("carla", "lab", "52:54:00:00:00:03"),
    ("doro", "routed", "52:54:00:00:00:04"),
)
OUTSIDE = "203.0.113.1"


def main() -> int:
    """Walk through the tour; return 1 if something did not do what it should."""
    began = time.monotonic()
    failures = 0
    with ExitStack() as stack:
        print("A private lab is being made; nothing on this machine is touched.")
        lan = stack.enter_context(Lan())
        outside = stack.enter_context(lan.outside("192.0.2.1/24"))
        add_address(outside, "lo", f"{OUTSIDE}/32")
        host = stack.enter_context(Host())
        lan.plug(host, "eth0", "192.0.2.10/24")
        host.run(["ip", "route", "add", "default", "via", "192.0.2.1"])
        outside.run(["ip", "route", "add", "198.51.100.0/25", "via", "192.0.2.10"])
        daemon = stack.enter_context(Daemon(host))

        _title("Three networks, defined and started; demo/documents.py has their documents")
        files = [
            _write(host, f"{name}.xml", document)
            for name, document in (("default", DEFAULT), ("lab", LAB), ("routed", ROUTED))
        ]
        _cli(daemon, "plan", files[0])
        for file in files:
            _cli(daemon, "apply", file)
        _cli(daemon, "list")

        _title("Four guests, plugged in by nothing but the network's name")
        guests = {}
        for name, network, mac in PLACES:
            guests[name] = host.guest(name)
            _cli(daemon, "attach", network, "--netns", name, "--ifname", "eth0", "--mac", mac)
            guests[name].dhcp4(hostname=name)
        _cli(daemon, "ports")
        _cli(daemon, "leases")

        _title("What they reach")
        failures = _reach(outside, guests)

        _title("What a change would do, before it is done: bert is to have 192.168.122.50")
        changed = DEFAULT.replace("192.168.122.12", "192.168.122.50")
        _cli(daemon, "define", _write(host, "default.xml", changed))
        _cli(daemon, "plan", "default")
        _cli(daemon, "apply", "default")

        _title("What was made")
        _draw(host, guests)
        for name in guests:
            _cli(daemon, "detach", name, quiet=True)
        for network in ("default", "lab", "routed"):
            _cli(daemon, "stop", network, quiet=True)
            _cli(daemon, "undefine", network, quiet=True)
        left = [link for link in host.links() if link not in {"lo", "eth0"}]
        failures += _check("everything is taken away again", not left)
    print(f"\nDone in {time.monotonic() - began:.1f} s.")
    return 1 if failures else 0


def _write(host: Host, name: str, document: str) -> str:
    path = f"/run/lab/{name}"
    host.file(path).write_text(document)
    return path


def _reach(outside: Host, guests: dict[str, Guest]) -> int:
    anna, carla, doro = guests["anna"], guests["carla"], guests["doro"]
    failures = 0
    with EchoServer(outside) as server:
        answered = ask_udp(anna, OUTSIDE, 7)
        failures += _check(
            f"anna (NAT) reaches {OUTSIDE}, which sees the host's address "
            f"{', '.join(sorted(server.sources()))}",
            answered is not None and server.sources() == {"192.0.2.10"},
        )
        server.forget()
        ask_udp(doro, OUTSIDE, 7)
        failures += _check(
            f"doro (routed) reaches it with an address of her own: "
            f"{', '.join(sorted(server.sources()))}",
            bool(server.sources()) and "192.0.2.10" not in server.sources(),
        )
        failures += _check("carla (isolated) does not", ask_udp(carla, OUTSIDE, 7) is None)
    failures += _check("anna and bert reach each other", _pings(anna, "192.168.122.12"))
    failures += _check("carla does not reach anna", not _pings(carla, "192.168.122.11"))
    failures += _check("doro does not reach anna", not _pings(doro, "192.168.122.11"))
    answer = resolve(anna, "bert.vm.example", server="192.168.122.1")
    records = () if answer is None else answer.records
    failures += _check(
        f"the name bert.vm.example is {', '.join(records)}", records == ("192.168.122.12",)
    )
    return failures


def _draw(host: Host, guests: dict[str, Guest]) -> None:
    """Draw the host's bridges with their guests, from what the kernel says."""
    print("  outside (203.0.113.1)")
    print("  └─ LAN 192.0.2.0/24")
    print("     └─ eth0 192.0.2.10 (host)")
    names = {guest.mac(): name for name, guest in guests.items()}
    bridges = sorted(host.ip("-d", "link", "show", "type", "bridge"), key=lambda b: b["ifname"])
    for number, bridge in enumerate(bridges):
        last = number == len(bridges) - 1
        (shown,) = host.ip("addr", "show", "dev", bridge["ifname"])
        address = ", ".join(f"{i['local']}/{i['prefixlen']}" for i in shown["addr_info"])
        print(f"        {'└' if last else '├'}─ {bridge['ifname']} {address}")
        ports = host.ip("link", "show", "master", bridge["ifname"])
        for index, port in enumerate(ports):
            owner = names.get("52" + port["address"][2:], "?")
            guest = guests.get(owner)
            shown_address = ", ".join(guest.addresses()) if guest is not None else ""
            corner = "└" if index == len(ports) - 1 else "├"
            side = " " if last else "│"
            print(f"        {side}  {corner}─ {port['ifname']} ─ {owner} {shown_address}")


def _title(text: str) -> None:
    print(f"\n── {text}")


def _cli(daemon: Daemon, *arguments: str, quiet: bool = False) -> None:
    said = daemon.cli(*arguments)
    if not quiet:
        print(f"$ jackfield {' '.join(arguments)}")
        print("".join(f"  {line}\n" for line in said.rstrip().splitlines()), end="")


def _pings(source: Namespace, address: str) -> bool:
    return ping(source, address) is not None


def _check(text: str, holds: bool) -> int:
    print(f"  {'ok  ' if holds else 'FAIL'}  {text}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
