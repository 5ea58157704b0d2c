"""What can be said about a document without daemon and without root."""

from __future__ import annotations

import dataclasses
import os
import socket

import msgspec

from jackfield.document import convert as conversion
from jackfield.document.complete import Taken, complete
from jackfield.document.guest import read_guest
from jackfield.document.xml import parse
from jackfield.errors import UnsupportedConfiguration, counted
from jackfield.host.nft.text import table_text
from jackfield.model.network import Network
from jackfield.plan.describe import describe
from jackfield.plan.doubts import doubtful_addresses, missing_uplinks
from jackfield.plan.network import plan_network
from jackfield.plan.reservations import vain_reservations
from jackfield.state.hoststate import HostState, difference
from jackfield.state.plan import PlanStep
from jackfield.state.resources import NetworkRules
from jackfield.state.services import Dnsmasq

__all__ = ["Plan", "Report", "check", "convert", "plan"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a document would make: the steps, and the texts that two of them stand for.

    ``dnsmasq`` and ``rules`` are empty when there is no such service and there are no rules.
    """

    name: str
    steps: list[PlanStep]
    dnsmasq: str
    rules: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a document is, in a few words, and what its author should know about it."""

    text: str
    notes: list[str]
    is_guest: bool = False


def plan(document: bytes) -> Plan:
    """Return what ``document`` would make on a host where nothing of it exists.

    The bridge's name is the one it would get here and now; its address is left open where the
    document does, because it is made up when the network is defined.
    """
    network = conversion.read_definition(document)
    state = plan_network(msgspec.structs.replace(_define(network), mac=network.mac))
    services = [item for item in state.values() if isinstance(item, Dnsmasq)]
    rules = [item for item in state.values() if isinstance(item, NetworkRules)]
    return Plan(
        name=network.name,
        steps=describe(difference(state, HostState())),
        dnsmasq="".join(map(_served, services)),
        rules=table_text(rules) if rules else "",
    )


def check(document: bytes) -> Report:
    """Return what there is to say about a network or a guest, or raise what is wrong with it.

    XML is held against the schema as well, which knows every element: a misspelt one is found.
    """
    start = document.lstrip()
    if not start.startswith(b"{") and parse(document).tag in {"domain", "interface"}:
        guest = read_guest(document)
        wanted = [item.network for item in guest.interfaces if item.network is not None]
        names = ", ".join(wanted)
        return Report(
            text=f"a guest with {counted(len(wanted), 'interface')} on networks of the host"
            + (f": {names}" if names else ""),
            notes=[],
            is_guest=True,
        )
    network = conversion.read_definition(document, schema=True)
    defined = _define(network)
    notes = []
    try:
        plan_network(defined)
    except UnsupportedConfiguration as error:
        notes.append(f"can be defined but not started: {error.message}")
    notes += [
        *missing_uplinks(network),
        *doubtful_addresses(network),
        *vain_reservations(network),
    ]
    return Report(text=f"network {network.name}, mode {network.mode.value}", notes=notes)


def convert(document: bytes, to: conversion.Dialect) -> str:
    """Return ``document`` in the form ``to``."""
    return conversion.convert(document, to)


def _served(service: Dnsmasq) -> str:
    """Return the configuration of a dnsmasq, and what it reads of the files that this names."""
    files = {
        "servers": "".join(f"server={server}\n" for server in service.servers),
        "names": service.names,
        "hosts": service.hosts,
        "options": service.options,
    }
    shown = "".join(f"\n# {name}\n{text}" for name, text in files.items() if text)
    return service.config + shown


def _define(network: Network) -> Network:
    """Return ``network`` as it would be defined here and now, or raise why it cannot be."""
    present = [name for _, name in socket.if_nameindex()]
    return complete(network, Taken(present=present), os.urandom)
