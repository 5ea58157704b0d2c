"""The machine with SR-IOV, on a LAN and with a daemon, as tests see it from outside."""

from __future__ import annotations

from typing import Any

from tests.guests.machine import SriovMachine
from tests.lab.host import Host

__all__ = ["ADDRESSES", "CARD_ADDRESS", "CONFIGURATION", "DAEMON", "MAC", "ROOM", "Site"]

CONFIGURATION = "[virtual_functions]\neth0 = 3\n"
CARD_ADDRESS = "0000:01:00.0"
ADDRESSES = ("0000:01:10.0", "0000:01:10.2", "0000:01:10.4")
MAC = "52:54:00:00:00:42"
DAEMON = "tests.guests.inside_daemon"
ROOM = "tests.guests.inside_functions"


class Site:
    """The machine with its daemon, seen from outside."""

    def __init__(self, host: Host, machine: SriovMachine) -> None:
        """Look at ``machine``, whose card is the tap of ``host``."""
        self.host = host
        self.machine = machine
        self.run = machine.run

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask the daemon."""
        return self.machine.call(f"{DAEMON}:ask", method=method, path=path, body=body)

    def attach(self, network: str, **wish: object) -> dict[str, Any]:
        """Make a port that would be handed over to who asks."""
        body = {"handover": True, "mac": MAC} | wish
        port: dict[str, Any] = self.ask("POST", f"/v1/networks/{network}/ports", body)
        return port

    def detach(self, port: dict[str, Any]) -> None:
        """Take a port away."""
        self.ask("DELETE", f"/v1/ports/{port['uuid']}")

    def functions(self) -> list[dict[str, Any]]:
        """Return what ip(8) says of each virtual function."""
        (card,) = self.machine.ip("link", "show", "eth0")
        kept = ("address", "vlan_list", "rate", "spoofchk", "trust")
        return [{key: one[key] for key in kept} for one in card["vfinfo_list"]]

    def function(self, number: int) -> dict[str, Any]:
        """Return what ip(8) says of one virtual function."""
        return self.functions()[number]

    def drivers(self) -> list[tuple[str, str]]:
        """Return each function's driver, and the one it may have alone."""
        script = (
            f"cd /sys/bus/pci/devices; for one in {' '.join(ADDRESSES)}; do"
            " echo $(basename $(readlink -f $one/driver)) $(cat $one/driver_override); done"
        )
        lines = [line.split() for line in self.run(script).splitlines()]
        return [(bound, override) for bound, override in lines]

    def interfaces(self) -> dict[str, tuple[str, str, bool]]:
        """Return name, address, and whether it is up, of each function's interface."""
        script = (
            "for function in /sys/class/net/eth0/device/virtfn*; do for link in $function/net/*;"
            " do [ -e $link ] && echo $(basename $(readlink -f $function)) $(basename $link);"
            " done; done; true"
        )
        links = {link["ifname"]: link for link in self.machine.ip("link", "show")}
        found = {}
        for line in self.run(script).splitlines():
            address, name = line.split()
            if name in links:
                found[address] = (name, links[name]["address"], "UP" in links[name]["flags"])
        return found

    def all(self) -> list[object]:
        """Return everything that a port on a function changes."""
        ports = [port["uuid"] for port in self.ask("GET", "/v1/ports")]
        return [self.functions(), self.drivers(), self.interfaces(), ports]

    def ask_killed(self, act: int, method: str, path: str, body: object = None) -> str | None:
        """Ask a daemon that is killed before an act; return that, ``None`` if it has fewer."""
        told: str | None = self.machine.call(
            f"{DAEMON}:ask_killed", act=act, method=method, path=path, body=body
        )
        return None if told is None else told.splitlines()[0]
