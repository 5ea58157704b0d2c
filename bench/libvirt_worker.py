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


serve({"define": define, "start": start, "stop": stop, "port": port})
