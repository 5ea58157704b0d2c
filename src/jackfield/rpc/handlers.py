"""Who answers which procedure."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from jackfield.rpc import connect, metadata, networks, ports

__all__ = ["HANDLERS", "WAITING", "Handler"]

Handler = Callable[..., tuple[Any, ...] | Awaitable[tuple[Any, ...]]]
"""Takes the session and the arguments; returns the return values, now or later."""

HANDLERS: dict[str, Handler] = {
    "auth_list": connect.auth_list,
    "connect_close": connect.close,
    "connect_get_hostname": connect.get_hostname,
    "connect_get_type": connect.get_type,
    "connect_get_uri": connect.get_uri,
    "connect_get_version": connect.get_version,
    "connect_is_secure": connect.is_secure,
    "connect_open": connect.open_connection,
    "connect_supports_feature": connect.supports_feature,
    "count_active": networks.count_active,
    "count_defined": networks.count_defined,
    "deregister_close": connect.deregister_close,
    "deregister_event": connect.deregister_event,
    "list_active_names": networks.list_active_names,
    "list_all_networks": networks.list_all,
    "list_all_ports": ports.list_all,
    "list_defined_names": networks.list_defined_names,
    "network_create": networks.create,
    "network_create_xml": networks.create_xml,
    "network_create_xml_flags": networks.create_xml_flags,
    "network_define_xml": networks.define_xml,
    "network_define_xml_flags": networks.define_xml_flags,
    "network_destroy": networks.destroy,
    "network_get_autostart": networks.get_autostart,
    "network_get_bridge_name": networks.get_bridge_name,
    "network_get_leases": networks.get_leases,
    "network_get_metadata": metadata.get_metadata,
    "network_get_xml": networks.get_xml,
    "network_is_active": networks.is_active,
    "network_is_persistent": networks.is_persistent,
    "network_lookup_by_name": networks.lookup_by_name,
    "network_lookup_by_uuid": networks.lookup_by_uuid,
    "network_set_autostart": networks.set_autostart,
    "network_set_metadata": metadata.set_metadata,
    "network_undefine": networks.undefine,
    "network_update": networks.update,
    "port_create": ports.create,
    "port_delete": ports.delete,
    "port_get_parameters": ports.get_parameters,
    "port_get_xml": ports.get_xml,
    "port_lookup": ports.lookup,
    "port_set_parameters": ports.set_parameters,
    "register_close": connect.register_close,
    "register_event": connect.register_event,
    "set_identity": connect.set_identity,
}
"""The handler of each procedure, by its name in the table."""

WAITING = frozenset(
    name for name, handler in HANDLERS.items() if inspect.iscoroutinefunction(handler)
)
"""The procedures whose handler may have to wait; the others answer at once."""
