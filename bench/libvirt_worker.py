"""Timed calls by libvirt's own Python binding; run by the system's /usr/bin/python3.

The daemon is libvirtd, or whoever answers at the URI in the environment's BENCH_URI.

Speaks JSON lines (``bench.worker``) and imports nothing but that and ``libvirt``.
"""

from __future__ import annotations

import os
import time
import uuid

import libvirt  # type: ignore[import-not-found]

from bench.worker import serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PORT = """<networkport><uuid>{port}</uuid>
<owner><name>guest</name><uuid>{owner}</uuid></owner>
<mac address='{mac}'/></networkport>"""

connection = libvirt.open(os.environ.get("BENCH_URI", "network:///system"))


def define(document: str) -> float:
    """Define a network."""
    begin = time.perf_counter()
    connection.networkDefineXML(document)
    return time.perf_counter() - begin


def start(name: str) -> float:
    """Start a network."""
    network = connection.networkLookupByName(name)
    begin = time.perf_counter()
    network.create()
    return time.perf_counter() - begin


def stop(name: str) -> float:
    """Stop a network."""
    network = connection.networkLookupByName(name)
    begin = time.perf_counter()
    network.destroy()
    return time.perf_counter() - begin


def port(name: str, mac: str) -> float:
    """Create a port and delete it."""
    network = connection.networkLookupByName(name)
    document = PORT.format(port=uuid.uuid4(), owner=uuid.uuid4(), mac=mac)
    begin = time.perf_counter()
    created = network.portCreateXML(document)
    created.delete()
    return time.perf_counter() - begin


def lookup(name: str) -> float:
    """Find a network by its name."""
    begin = time.perf_counter()
    connection.networkLookupByName(name)
    return time.perf_counter() - begin


def lookup_uuid(name: str) -> float:
    """Find a network by its uuid."""
    identity = connection.networkLookupByName(name).UUID()
    begin = time.perf_counter()
    connection.networkLookupByUUID(identity)
    return time.perf_counter() - begin


def list_all(count: int) -> float:
    """List all networks, of which there must be at least so many."""
    begin = time.perf_counter()
    found = connection.listAllNetworks()
    took = time.perf_counter() - begin
    assert len(found) >= count, len(found)
    return took


def define_undefine(document: str) -> float:
    """Define a network and undefine it."""
    begin = time.perf_counter()
    connection.networkDefineXML(document).undefine()
    return time.perf_counter() - begin


OPERATIONS: dict[str, Callable[..., float]] = {
    "define": define,
    "define_undefine": define_undefine,
    "list_all": list_all,
    "lookup": lookup,
    "lookup_uuid": lookup_uuid,
    "port": port,
    "start": start,
    "stop": stop,
}


def repeat(what: str, times: int, **arguments: object) -> list[float]:
    """Do an operation again and again; return the seconds that each took."""
    return [OPERATIONS[what](**arguments) for _ in range(times)]


serve({**OPERATIONS, "repeat": repeat})
