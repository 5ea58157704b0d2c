"""The procedures of libvirt's REMOTE program that concern networks, as a table.

Numbers and types are those of libvirt's ``remote_protocol.x``; what is not here belongs to other
drivers (``foreign``) or to nobody.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import operator
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from jackfield.rpc.xdr import (
    HYPER,
    INT,
    OPTIONAL_STRING,
    PARAMETERS,
    STRING,
    UHYPER,
    UINT,
    UUID_BYTES,
    Array,
    Codec,
    Optional,
    Record,
    XdrError,
    pack,
)

__all__ = [
    "LIFECYCLE",
    "MAX_NETWORKS",
    "METADATA_CHANGE",
    "PROCEDURES",
    "Lease",
    "Needs",
    "NetworkRef",
    "PortRef",
    "Procedure",
]


@dataclasses.dataclass(frozen=True, slots=True)
class NetworkRef:
    """A network as clients hold it (``remote_nonnull_network``); its uuid is what counts."""

    name: str
    uuid: UUID


@dataclasses.dataclass(frozen=True, slots=True)
class PortRef:
    """A port as clients hold it (``remote_nonnull_network_port``)."""

    net: NetworkRef
    uuid: UUID


@dataclasses.dataclass(frozen=True, slots=True)
class Lease:
    """A DHCP lease (``remote_network_dhcp_lease``); ``type`` is 0 for IPv4 and 1 for IPv6."""

    iface: str
    expiry: int
    type: int
    mac: str | None
    iaid: str | None
    address: str
    prefix: int
    hostname: str | None
    client_id: str | None


class _Networks(Array[NetworkRef]):
    """Networks, of which only name and uuid are looked at.

    The bytes of the last list's are kept: to make them of a thousand networks takes longer than all
    the rest, and clients that look again mostly find the same.
    """

    def __init__(self, codec: Codec[NetworkRef], limit: int) -> None:
        super().__init__(codec, limit)
        self._codec = codec
        self._known: list[NetworkRef] = []
        self._parts: dict[int, bytes] = {}
        self._bytes = pack((UINT,), (0,))

    def pack(self, out: bytearray, value: Sequence[NetworkRef]) -> None:
        """Append the networks after their number."""
        if len(value) != len(self._known) or not all(map(operator.is_, value, self._known)):
            if len(value) > self._limit:
                raise XdrError(f"{len(value)} networks are more than {self._limit}")
            # What is in the last list is still alive, so nothing else has its identity.
            known = self._parts
            parts = [known.get(id(one)) or pack((self._codec,), (one,)) for one in value]
            self._known = list(value)
            self._parts = dict(zip(map(id, value), parts, strict=True))
            self._bytes = pack((UINT,), (len(parts),)) + b"".join(parts)
        out += self._bytes


_LONG_NAME = 256
"""Bytes of a name that is not kept; no network has it."""


class _Network(Record[NetworkRef]):
    """A network; the bytes of one that clients name again and again are known."""

    def unpack(self, data: bytes | memoryview, at: int) -> tuple[NetworkRef, int]:
        """Return the network."""
        if at + 4 <= len(data):
            name = int.from_bytes(data[at : at + 4], "big")
            end = at + 4 + name + (-name & 3) + 16
            if name <= _LONG_NAME and end <= len(data):
                return _network(bytes(data[at:end])), end
        return super().unpack(data, at)


NET = _Network(NetworkRef, name=STRING, uuid=UUID_BYTES)


@functools.lru_cache(1024)
def _network(data: bytes) -> NetworkRef:
    """Return the network of these bytes."""
    return super(_Network, NET).unpack(data, 0)[0]


PORT = Record(PortRef, net=NET, uuid=UUID_BYTES)
LEASE = Record(
    Lease,
    iface=STRING,
    expiry=HYPER,
    type=INT,
    mac=OPTIONAL_STRING,
    iaid=OPTIONAL_STRING,
    address=STRING,
    prefix=UINT,
    hostname=OPTIONAL_STRING,
    client_id=OPTIONAL_STRING,
)
OPTIONAL_NET = Optional(NET)
MAX_NETWORKS = 16384
NAMES = Array(STRING, MAX_NETWORKS)
NETS = _Networks(NET, MAX_NETWORKS)
PORTS = Array(PORT, 16384)
LEASES = Array(LEASE, 65536)
PORT_PARAMETERS = Array(PARAMETERS, 16)
IDENTITY_PARAMETERS = Array(PARAMETERS, 20)
AUTHENTICATIONS = Array(INT, 20)


class Needs(enum.Enum):
    """What a call needs before it is answered."""

    NOTHING = "nothing"
    CONNECTION = "an open connection"
    WRITING = "an open connection that may change things"


@dataclasses.dataclass(frozen=True, slots=True)
class Procedure:
    """One procedure: its name, the call of libvirt's API that it serves, and its types."""

    name: str
    api: str
    args: tuple[Codec[Any], ...] = ()
    returns: tuple[Codec[Any], ...] = ()
    needs: Needs = Needs.CONNECTION


_NO = Needs.NOTHING
_RW = Needs.WRITING

PROCEDURES: dict[int, Procedure] = {
    1: Procedure("connect_open", "virConnectOpen", (OPTIONAL_STRING, UINT), (), _NO),
    2: Procedure("connect_close", "virConnectClose", (), (), _NO),
    3: Procedure("connect_get_type", "virConnectGetType", (), (STRING,)),
    36: Procedure("list_defined_names", "virConnectListDefinedNetworks", (INT,), (NAMES,)),
    38: Procedure("list_active_names", "virConnectListNetworks", (INT,), (NAMES,)),
    39: Procedure("network_create", "virNetworkCreate", (NET,), (), _RW),
    40: Procedure("network_create_xml", "virNetworkCreateXML", (STRING,), (NET,), _RW),
    41: Procedure("network_define_xml", "virNetworkDefineXML", (STRING,), (NET,), _RW),
    42: Procedure("network_destroy", "virNetworkDestroy", (NET,), (), _RW),
    43: Procedure("network_get_xml", "virNetworkGetXMLDesc", (NET, UINT), (STRING,)),
    44: Procedure("network_get_autostart", "virNetworkGetAutostart", (NET,), (INT,)),
    45: Procedure("network_get_bridge_name", "virNetworkGetBridgeName", (NET,), (STRING,)),
    46: Procedure("network_lookup_by_name", "virNetworkLookupByName", (STRING,), (NET,)),
    47: Procedure("network_lookup_by_uuid", "virNetworkLookupByUUID", (UUID_BYTES,), (NET,)),
    48: Procedure("network_set_autostart", "virNetworkSetAutostart", (NET, INT), (), _RW),
    49: Procedure("network_undefine", "virNetworkUndefine", (NET,), (), _RW),
    50: Procedure("count_defined", "virConnectNumOfDefinedNetworks", (), (INT,)),
    52: Procedure("count_active", "virConnectNumOfNetworks", (), (INT,)),
    59: Procedure("connect_get_hostname", "virConnectGetHostname", (), (STRING,)),
    60: Procedure("connect_supports_feature", "virConnectSupportsFeature", (INT,), (INT,), _NO),
    66: Procedure("auth_list", "virConnectOpen", (), (AUTHENTICATIONS,), _NO),
    110: Procedure("connect_get_uri", "virConnectGetURI", (), (STRING,)),
    149: Procedure("connect_is_secure", "virConnectIsSecure", (), (INT,)),
    152: Procedure("network_is_active", "virNetworkIsActive", (NET,), (INT,)),
    153: Procedure("network_is_persistent", "virNetworkIsPersistent", (NET,), (INT,)),
    157: Procedure("connect_get_version", "virConnectGetLibVersion", (), (UHYPER,)),
    283: Procedure("list_all_networks", "virConnectListAllNetworks", (INT, UINT), (NETS, UINT)),
    291: Procedure(
        "network_update", "virNetworkUpdate", (NET, UINT, UINT, INT, STRING, UINT), (), _RW
    ),
    313: Procedure(
        "register_event", "virConnectNetworkEventRegisterAny", (INT, OPTIONAL_NET), (INT,)
    ),
    314: Procedure("deregister_event", "virConnectNetworkEventDeregisterAny", (INT,)),
    341: Procedure(
        "network_get_leases",
        "virNetworkGetDHCPLeases",
        (NET, OPTIONAL_STRING, INT, UINT),
        (LEASES, UINT),
    ),
    360: Procedure("register_close", "virConnectRegisterCloseCallback"),
    361: Procedure("deregister_close", "virConnectUnregisterCloseCallback"),
    404: Procedure("list_all_ports", "virNetworkListAllPorts", (NET, INT, UINT), (PORTS, UINT)),
    405: Procedure("port_lookup", "virNetworkPortLookupByUUID", (NET, UUID_BYTES), (PORT,)),
    406: Procedure("port_create", "virNetworkPortCreateXML", (NET, STRING, UINT), (PORT,), _RW),
    407: Procedure(
        "port_get_parameters",
        "virNetworkPortGetParameters",
        (PORT, INT, UINT),
        (PORT_PARAMETERS, INT),
    ),
    408: Procedure(
        "port_set_parameters",
        "virNetworkPortSetParameters",
        (PORT, PORT_PARAMETERS, UINT),
        (),
        _RW,
    ),
    409: Procedure("port_get_xml", "virNetworkPortGetXMLDesc", (PORT, UINT), (STRING,)),
    410: Procedure("port_delete", "virNetworkPortDelete", (PORT, UINT), (), _RW),
    419: Procedure("set_identity", "virConnectSetIdentity", (IDENTITY_PARAMETERS, UINT)),
    432: Procedure(
        "network_define_xml_flags", "virNetworkDefineXMLFlags", (STRING, UINT), (NET,), _RW
    ),
    437: Procedure(
        "network_create_xml_flags", "virNetworkCreateXMLFlags", (STRING, UINT), (NET,), _RW
    ),
    444: Procedure(
        "network_set_metadata",
        "virNetworkSetMetadata",
        (NET, INT, OPTIONAL_STRING, OPTIONAL_STRING, OPTIONAL_STRING, UINT),
        (),
        _RW,
    ),
    445: Procedure(
        "network_get_metadata",
        "virNetworkGetMetadata",
        (NET, INT, OPTIONAL_STRING, UINT),
        (STRING,),
    ),
}
"""Every procedure that is ours, by number."""

LIFECYCLE = (315, (INT, NET, INT, INT))
"""The event of a network that was defined, undefined, started or stopped."""

METADATA_CHANGE = (446, (INT, NET, INT, OPTIONAL_STRING))
"""The event of a network whose title, description or metadata was changed."""
