"""Documents and allocations a second, beside libxml2's bare parse of the same documents.

    python -m bench.documents [--check] [--rounds N]

The documents are libvirt's own (the corpus, ``JACKFIELD_CORPUS``); without them, one NAT network.
Nothing here needs root.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lxml import etree

from bench.counts import Counts
from bench.results import Budget, Result, render
from jackfield.allocation.allocate import allocate, usage_key
from jackfield.allocation.request import Request
from jackfield.allocation.usage import Usage
from jackfield.document.json import network_from_json, network_to_json
from jackfield.document.libvirt import write_network
from jackfield.document.reader import read_network
from jackfield.errors import DocumentError
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.uplink import DeviceUplink
from jackfield.model.values import InterfaceName, NetworkName
from jackfield.state.facts import Facts, LinkFact

__all__ = ["documents", "main"]

#: Read and write together may take this many times the bare parse.
RATIO = 15
UPLINKS, ALLOCATIONS, SECONDS = 1000, 10_000, 1.0

_EXAMPLE = b"""<network><name>default</name>
  <uuid>81ff0d90-c91e-6742-64da-4a736edb9a9b</uuid>
  <forward mode='nat'/><bridge name='virbr0' stp='on' delay='0'/>
  <ip address='192.168.122.1' netmask='255.255.255.0'>
    <dhcp><range start='192.168.122.2' end='192.168.122.254'/>
      <host mac='00:16:3e:77:e2:ed' name='a.example.com' ip='192.168.122.10'/></dhcp></ip>
</network>"""


def _texts() -> list[bytes]:
    named = os.environ.get("JACKFIELD_CORPUS")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "corpus"
    found = []
    for path in sorted((folder / "libvirt-11.3/roundtrip/in").glob("*.xml")):
        text = path.read_bytes()
        try:
            read_network(text)
        except DocumentError:
            continue
        found.append(text)
    return found or [_EXAMPLE]


def _median_time(work: Callable[[], object], rounds: int) -> float:
    """Return the median time of ``work`` in seconds over ``rounds``.

    It is this process' own time: all is arithmetic, and what else the machine does is not ours.
    """
    work()
    samples = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        samples.append(time.process_time() - start)
    return statistics.median(samples)


def _reading_and_writing(rounds: int) -> Iterator[Result]:
    texts = _texts()
    # What libxml2 needs at the least: a parser that is made once, and no look at the tree.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )

    def bare() -> None:
        for text in texts:
            etree.fromstring(text, parser)

    def read_and_write() -> None:
        for text in texts:
            write_network(read_network(text))

    networks = [read_network(text) for text in texts]
    stored = [network_to_json(network) for network in networks]

    def decode() -> None:
        for text in stored:
            network_from_json(text)

    # Both are measured in turn, so that what else the machine does hits them alike.
    pairs = [(_median_time(bare, 3), _median_time(read_and_write, 3)) for _ in range(rounds)]
    raw = statistics.median(pair[0] for pair in pairs) / len(texts)
    ours = statistics.median(pair[1] for pair in pairs) / len(texts)
    ratio = statistics.median(pair[1] / pair[0] for pair in pairs)
    yield Result(
        work=f"read + write one of {len(texts)} documents",
        unit="µs",
        count=rounds,
        ours=ours * 1e6,
        raw=raw * 1e6,
        budgets=(Budget(text=f"≤ {RATIO} × bare parse", measured=ratio, limit=RATIO),),
        note=f"{1 / ours:,.0f} documents a second; bare parse {1 / raw:,.0f}",
    )
    seconds = _median_time(decode, rounds) / len(texts)
    yield Result(
        work="decode one stored network",
        unit="µs",
        count=rounds,
        ours=seconds * 1e6,
        note=f"{1 / seconds:,.0f} networks a second",
    )


def _allocating() -> Iterator[Result]:
    names = [InterfaceName(f"eth{number}") for number in range(UPLINKS)]
    network = Network(
        name=NetworkName("red-network"),
        mode=Mode.VEPA,
        uplinks=tuple(DeviceUplink(dev=name) for name in names),
    )
    links = {str(name): LinkFact(index=n, name=name, up=True) for n, name in enumerate(names)}
    facts, request = Facts(links=links), Request()

    def allocate_all() -> None:
        usage = Usage()
        for _ in range(ALLOCATIONS):
            port = allocate(network, facts, usage, request).port
            usage = usage.with_port(usage_key(network), port)

    seconds = _median_time(allocate_all, 3)
    yield Result(
        work=f"{ALLOCATIONS:,} allocations over {UPLINKS:,} uplinks",
        unit="ms",
        count=3,
        ours=seconds * 1000,
        budgets=(Budget(text="≤ 1 s", measured=seconds, limit=SECONDS),),
    )


def documents(counts: Counts | None = None, *, rounds: int = 15) -> Iterator[Result]:
    """Measure documents and allocations; ``counts`` is taken as other benchmarks take it."""
    del counts
    yield from _reading_and_writing(rounds)
    yield from _allocating()


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; return 1 with ``--check`` when a budget is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.documents", description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when a budget is missed")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="samples (default 15)")
    arguments = parser.parse_args(argv)
    results = list(documents(rounds=arguments.rounds))
    print(render(results))
    missed = any(result.verdict == "missed" for result in results)
    return int(missed and arguments.check)


if __name__ == "__main__":
    sys.exit(main())
