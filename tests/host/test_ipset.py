"""Sets of ipset that rules ask, as the kernel lists them."""

from __future__ import annotations

import pytest

from jackfield.host.ipset import with_ipsets
from jackfield.host.legacy import parse_save
from jackfield.state.ruleset import Doubt, ForeignTable, IpSet
from tests.lab import iptables
from tests.lab.namespace import NetworkNamespace

pytestmark = pytest.mark.kernel

_LONG = 5000
SETS = (
    ["create long hash:net", "create six hash:ip family inet6", "add six 2001:db8::7"]
    + [f"add long 10.{number >> 8}.{number & 255}.0/25" for number in range(_LONG)]
    + ["create but hash:net", "add but 10.0.0.0/8", "add but 10.1.0.0/16 nomatch"]
    + ["create ports hash:ip,port", "create masked hash:ip netmask 24"]
)


def asked(family: str, *names: str) -> ForeignTable:
    """Return a table with a rule for each of these sets, as the kernel has the sets."""
    rules = "".join(f"-A FORWARD -m set --match-set {name} src -j DROP\n" for name in names)
    text = f"*filter\n:FORWARD ACCEPT\n{rules}COMMIT\n"
    (table,) = with_ipsets(parse_save(text, family, "iptables-legacy"))
    return table


def test_what_is_known_of_sets(netns: NetworkNamespace) -> None:
    """Addresses of both families, however many; of what is more than those nothing is."""
    if (reason := iptables.skip_reason()) is not None:
        pytest.skip(reason)
    program, env = iptables.ipset_program()
    netns.run([program, "restore"], input="\n".join(SETS) + "\n", env=env)
    with netns.entered():
        table, table6 = asked("ip", "long"), asked("ip6", "six")
        others = asked("ip", "but", "ports", "masked", "six", "none")
    (kept,) = table.sets.values()
    assert _LONG == len(kept.elements)
    assert (bytes([10, 0, 0, 0]), bytes([10, 0, 0, 127])) == (
        kept.elements[0].low,
        kept.elements[0].high,
    )
    assert ["20010db8000000000000000000000007"] == [
        item.low.hex() for kept in table6.sets.values() for item in kept.elements
    ]
    assert {} == others.sets
    for rule in others.chains["FORWARD"].rules:
        assert Doubt("set") in rule.expressions
        assert not any(isinstance(item, IpSet) for item in rule.expressions)
