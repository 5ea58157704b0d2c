"""A whole Linux under QEMU, with a daemon, guests in namespaces and a LAN inside."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.guests.machine import SriovMachine
from tests.lab import openvswitch
from tests.lab.host import Host

__all__ = ["DAEMON", "UNTAGGED", "Site"]

DAEMON = "tests.guests.inside_daemon"
VLANS = (5, 42, 43)
"""Those of the LAN."""
UNTAGGED = ["PVID", "Egress Untagged"]
"""What ``bridge vlan`` says of a VLAN whose frames carry no tag."""


class Site:
    """The machine with its daemon."""

    def __init__(self, host: Host, machine: SriovMachine) -> None:
        """Look at ``machine``, whose card is the tap of ``host``."""
        self.host = host
        self.machine = machine

    def run(self, command: str, *, timeout: float = 60) -> str:
        """Run a line of shell in the machine, with iproute2's programs before busybox's."""
        return self.machine.run(f"PATH=/usr/sbin:$PATH; {command}", timeout=timeout)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask the daemon."""
        return self.machine.call(f"{DAEMON}:ask", method=method, path=path, body=body)

    def ask_killed(self, act: int, method: str, path: str, body: object = None) -> str:
        """Ask a daemon that is killed before an act, start the next one, and return the act."""
        told = self.machine.call(
            f"{DAEMON}:ask_killed", act=act, method=method, path=path, body=body
        )
        return "" if told is None else str(told)

    def apply(self, document: str) -> None:
        """Have the daemon make a network as its document says."""
        self.ask("POST", "/v1/networks?apply=1", document)

    def restart(self, meanwhile: str = "true") -> None:
        """Kill the daemon, run a line of shell, and start it again."""
        self.machine.call(f"{DAEMON}:kill")
        self.run(meanwhile)
        self.machine.call(f"{DAEMON}:start")

    def load(self, *modules: str) -> None:
        """Load modules of the kernel that are not loaded when the machine starts."""
        self.machine.load(*modules)

    def lan(self, *uplinks: str, home: str = "sw") -> None:
        """Make a machine ``lan`` with a cable to each uplink, at a switch of its own.

        It has 192.0.2.1 at its link ``home``, and 10.N.0.1 in VLAN N; it answers for each at that
        link only.
        """
        self.ip("netns add lan", "-n lan link add sw up address 02:00:00:00:00:01 type bridge")
        self.run("ip netns exec lan busybox sysctl -qw net.ipv4.conf.all.arp_ignore=1")
        for uplink in uplinks:
            self.cable(uplink)
        for tag in VLANS:
            self.ip(
                f"link add link sw name sw.{tag} type vlan id {tag}",
                f"link set sw.{tag} up",
                f"address add 10.{tag}.0.1/24 dev sw.{tag}",
                inside="lan",
            )
        self.ip(f"address add 192.0.2.1/24 dev {home}", inside="lan")

    def cable(self, uplink: str) -> None:
        """Lay a cable from an uplink to the LAN."""
        self.ip(
            f"link add {uplink} type veth peer name {uplink} netns lan",
            f"link set {uplink} up",
            f"-n lan link set {uplink} up master sw",
        )

    def start_openvswitch(self) -> None:
        """Start a database and a switch; they end with the machine."""
        socket = "/run/openvswitch/db.sock"
        schema = openvswitch.root() / openvswitch.PLACES["schema"]
        detached = "--detach --no-chdir --pidfile --log-file"
        self.run("mkdir -p /run/openvswitch")
        for line in (
            f"ovsdb-tool create /run/openvswitch/conf.db {schema}",
            f"ovsdb-server /run/openvswitch/conf.db --remote=punix:{socket} {detached}",
            "ovs-vsctl --no-wait init",
            f"ovs-vswitchd unix:{socket} {detached}",
        ):
            self.openvswitch(line)

    def openvswitch(self, line: str) -> str:
        """Run a program of Open vSwitch's, and return what it prints."""
        root = openvswitch.root()
        folders = ("usr/bin", "usr/sbin", "usr/lib/openvswitch-switch")
        path = ":".join(f"{root}/{folder}" for folder in folders)
        libraries = ":".join(map(str, sorted(root.glob("usr/lib/*-linux-gnu"))))
        rooms = " ".join(f"OVS_{one}DIR=/run/openvswitch" for one in ("RUN", "DB", "LOG"))
        return self.run(f"export PATH={path}:$PATH; LD_LIBRARY_PATH={libraries} {rooms} {line}")

    def ip(self, *words: str, inside: str = "") -> None:
        """Run lines of ``ip``, here or inside a namespace."""
        self.run(" && ".join(f"ip {f'-n {inside} ' if inside else ''}{line}" for line in words))

    def plug(self, guest: str, group: str, address: str, network: str = "red") -> str:
        """Plug a new guest in; return the host's end."""
        self.run(f"ip netns add {guest}")
        body = {"netns": guest, "ifname": "eth0", "name": guest}
        if group:
            body["portgroup"] = group
        port = self.ask("POST", f"/v1/networks/{network}/ports", body)
        if address:
            self.run(f"ip -n {guest} address add {address}/24 dev eth0")
        return str(port["device"])

    def unplug(self, *guests: str) -> None:
        """Take guests away."""
        for guest in guests:
            self.ask("DELETE", f"/v1/ports/{guest}")
            self.run(f"ip netns del {guest}")

    def lease(self, guest: str) -> None:
        """Have a guest ask for an address until it gets one, and take it."""
        told = self.run(
            f"ip netns exec {guest} busybox udhcpc -i eth0 -q -n -t 20 -s /bin/true 2>&1"
        )
        (address,) = re.findall(r"lease of (\S+) obtained", told)
        self.run(f"ip -n {guest} address replace {address}/24 dev eth0")

    def reaches(self, guest: str, address: str) -> bool:
        """Tell whether a ping of a guest (``""``: of the host) is answered."""
        inside = f"ip netns exec {guest} " if guest else ""
        return "lost" not in self.run(f"{inside}busybox ping -c 1 -W 1 {address} || echo lost")

    def vlans(self, link: str) -> dict[int, list[str]]:
        """Return the VLANs of a port, with their flags."""
        found = json.loads(self.run(f"bridge -j vlan show dev {link}"))
        return {item["vlan"]: item.get("flags", []) for item in found[0]["vlans"]} if found else {}

    def link(self, name: str) -> dict[str, Any]:
        """Return what ``ip -d link`` says of a link."""
        (found,) = self.machine.ip("-d", "link", "show", "dev", name)
        return found

    def filters(self, bridge: str) -> bool:
        """Tell whether a bridge filters VLANs."""
        return bool(self.link(bridge)["linkinfo"]["info_data"]["vlan_filtering"])

    def addresses(self, name: str) -> set[str]:
        """Return the global addresses of a link."""
        return {
            f"{info['local']}/{info['prefixlen']}"
            for link in self.machine.ip("address", "show", "dev", name)
            for info in link["addr_info"]
            if info["scope"] == "global"
        }

    def routes(self) -> set[str]:
        """Return the routes of the host, IPv4 and IPv6, but those of its kernel."""
        lines = self.run("ip route show; ip -6 route show").splitlines()
        return {line.strip() for line in lines if "proto kernel" not in line}
