"""Title, description and metadata of networks, which change nothing on the host."""

from __future__ import annotations

import enum
from uuid import UUID

import msgspec

from jackfield.document.json import network_to_json
from jackfield.document.metadata import element_of, with_element
from jackfield.engine import workplace
from jackfield.engine.definitions import network_row
from jackfield.engine.events import EventLog
from jackfield.engine.impact import Impact
from jackfield.engine.longdocuments import aside
from jackfield.engine.registry import Registry
from jackfield.engine.store.rows import LiveRow, NetworkRow, Step
from jackfield.engine.views import Event, NetworkView
from jackfield.engine.workplace import Workplace
from jackfield.errors import InvalidRequest
from jackfield.host.thread import KernelThread
from jackfield.model.network import Network
from jackfield.model.values import NetworkName

__all__ = ["Metadata", "MetadataType", "read_metadata"]


class MetadataType(enum.IntEnum):
    """Which part, with libvirt's numbers (``virNetworkMetadataType``)."""

    DESCRIPTION = 0
    TITLE = 1
    ELEMENT = 2


def read_metadata(network: Network, kind: MetadataType, uri: str | None) -> str | None:
    """Return one part of a network's metadata, ``None`` when it is not there."""
    if kind is MetadataType.DESCRIPTION:
        return network.description
    if kind is MetadataType.TITLE:
        return network.title
    return element_of(network.metadata, _required(uri))


def _changed(
    network: Network, kind: MetadataType, text: str | None, key: str | None, uri: str | None
) -> Network:
    if kind is MetadataType.DESCRIPTION:
        return msgspec.structs.replace(network, description=text or None)
    if kind is MetadataType.TITLE:
        if text is not None and "\n" in text:
            raise InvalidRequest("a title is one line").in_libvirt(
                "metadata title can't contain newlines"
            )
        return msgspec.structs.replace(network, title=text or None)
    changed = with_element(network.metadata, _required(uri), key, text)
    return msgspec.structs.replace(network, metadata=changed)


def _required(uri: str | None) -> str:
    if not uri:
        raise InvalidRequest("an element of the metadata is named by the URI of its namespace")
    return uri


class Metadata:
    """Changes metadata in the stored definition and the running one."""

    def __init__(
        self, registry: Registry, events: EventLog, thread: KernelThread[Workplace]
    ) -> None:
        """Work on ``registry`` through ``thread``."""
        self._registry = registry
        self._events = events
        self._thread = thread

    async def set(
        self,
        ref: str | UUID,
        kind: MetadataType,
        text: str | None,
        *,
        key: str | None,
        uri: str | None,
        live: bool,
        config: bool,
    ) -> NetworkView:
        """Set one part, or remove it with ``text`` ``None``; see ``Impact`` for the rest."""
        async with self._registry.held(ref) as record:
            impact = Impact.of(record, live=live, config=config)
            running = record.live if impact.live else None
            stored = record.stored if impact.config else None

            def change() -> list[Network | None]:
                return [
                    None if one is None else _changed(one, kind, text, key, uri)
                    for one in (running, stored)
                ]

            new_running, new_stored = await aside(change, running, stored, text)
            detail = {"type": kind.name.lower(), **({} if uri is None else {"uri": uri})}
            row = None
            if new_stored is not None:
                row = await network_row(record, new_stored, autostart=record.autostart)
            step = Step.HALTED if record.halted else Step.SETTLED
            event = await self._thread.run(
                _put, record.uuid, record.name, new_running, row, step, detail
            )
            if new_running is not None:
                record.live = new_running
            if new_stored is not None:
                record.stored = new_stored
            self._events.add(event)
            return self._registry.network_view(record)


def _put(
    tools: Workplace,
    uuid: UUID,
    name: NetworkName,
    running: Network | None,
    stored: NetworkRow | None,
    step: str,
    detail: dict[str, str],
) -> Event:
    with tools.store.transaction(durable=stored is not None):
        if running is not None:
            tools.store.put_live(LiveRow(uuid, step, network_to_json(running)))
        if stored is not None:
            tools.store.put_network(stored)
        return workplace.record_event(tools, "network-metadata", name, uuid, detail)
