"""What the tests of firewall rules share: networks, and the rules as nft lists them."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from pathlib import Path

from jackfield.host.driver import Observed
from jackfield.host.kernel import Kernel
from jackfield.host.nft.driver import RulesDriver
from jackfield.host.nft.keeper import TABLE_NAME as KEEPER
from jackfield.model.address import StaticRoute, Subnet
from jackfield.model.bandwidth import Bandwidth, Rate
from jackfield.model.dns import Dns
from jackfield.model.mode import Mode
from jackfield.model.network import Nat, Network
from jackfield.model.uplink import DeviceUplink
from jackfield.model.values import InterfaceName, NetworkName, Text
from jackfield.plan.rules import network_rules
from jackfield.state.resources import NetworkRules
from tests.lab.namespace import Namespace

__all__ = ["Firewall", "listed", "listing", "network", "normalised", "rules_of"]


def network(
    mode: Mode,
    *interfaces: str,
    uplinks: tuple[str, ...] = (),
    routes: tuple[tuple[str, str], ...] = (),
    nat: Nat | None = None,
    outbound: Rate | None = None,
    dns: bool = True,
    tftp_root: str | None = None,
) -> Network:
    """Return a network with these ``ADDRESS/PREFIX``; routes are (destination, gateway)."""
    parsed = [ipaddress.ip_interface(text) for text in interfaces]
    destinations = [(ipaddress.ip_network(to), ipaddress.ip_address(via)) for to, via in routes]
    return Network(
        name=NetworkName("test"),
        mode=mode,
        subnets=tuple(
            Subnet(
                address=item.ip,
                prefix=item.network.prefixlen,
                tftp_root=None if tftp_root is None else Text(tftp_root),
            )
            for item in parsed
        ),
        routes=tuple(
            StaticRoute(address=to.network_address, prefix=to.prefixlen, gateway=via)
            for to, via in destinations
        ),
        uplinks=tuple(DeviceUplink(dev=InterfaceName(name)) for name in uplinks),
        nat=nat,
        dns=None if dns else Dns(enable=False),
        bandwidth=None if outbound is None else Bandwidth(outbound=outbound),
    )


def rules_of(definition: Network, bridge: str) -> NetworkRules:
    """Return the rules of a network that has some."""
    rules = network_rules(definition, InterfaceName(bridge))
    assert rules is not None
    return rules


def normalised(text: str) -> dict[str, list[str]]:
    """Return the blocks of an nft listing by their titles: counts away, elements in order."""
    text = re.sub(r"counter packets \d+ bytes \d+", "counter", text)
    text = re.sub(
        r"elements = \{(.*?)\}",
        lambda found: "elements = " + " ".join(sorted(re.split(r",\s*", found[1].strip()))),
        text,
        flags=re.DOTALL,
    )
    blocks: dict[str, list[str]] = {}
    title: list[str] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.endswith("{"):
            title.append(line.removesuffix(" {"))
            blocks[" / ".join(title)] = []
        elif line == "}":
            title.pop()
        else:
            blocks[" / ".join(title)].append(line)
    return blocks


def listing(where: Namespace) -> dict[str, list[str]]:
    """Return what ``nft list ruleset`` says, normalised, without what keeps connections."""
    # nft tells the owner of a table behind its opening brace.
    text = re.sub(r" # progname .*", "", where.run(["nft", "list", "ruleset"]).stdout)
    kept = f"table inet {KEEPER}"
    return {title: lines for title, lines in normalised(text).items() if not title.startswith(kept)}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Firewall:
    """The driver of rules at work in a namespace."""

    namespace: Namespace
    kernel: Kernel
    driver: RulesDriver

    @classmethod
    def open(cls, namespace: Namespace, run_dir: Path) -> Firewall:
        """Open the kernel's doors in ``namespace``."""
        with namespace.entered():
            kernel = Kernel.open(run_dir)
        return cls(namespace=namespace, kernel=kernel, driver=RulesDriver())

    def ensure(self, *wanted: NetworkRules, replaced: tuple[NetworkRules, ...] = ()) -> None:
        """Make ``wanted`` so."""
        self.driver.ensure(self.kernel, wanted, {item.key: item for item in replaced})

    def observe(self, wanted: NetworkRules) -> Observed:
        """Return what there is of one network."""
        return self.driver.observe(self.kernel, [wanted])[wanted.key]

    def remove(self, *present: NetworkRules) -> None:
        """Remove ``present``."""
        self.driver.remove(self.kernel, present)


def listed(here: Namespace) -> str:
    """Return the rules as nft shows them, with one space between words."""
    return " ".join(here.run(["nft", "list", "ruleset"]).stdout.split())
