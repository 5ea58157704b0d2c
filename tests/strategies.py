"""Hypothesis strategies for the values of the model.

``networks()`` gives canonical networks that pass ``jackfield.document.rules.check``: what the
readers produce; ``definitions()`` those that pass ``check_definition`` as well.
"""

from __future__ import annotations

import base64
import ipaddress
import string
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import strategies as st

from jackfield.document.metadata import canonical_metadata
from jackfield.document.rules import check, check_definition
from jackfield.errors import DocumentError, UnsupportedConfiguration
from jackfield.model.address import (
    Address,
    Bootp,
    Dhcp,
    DhcpHost,
    DhcpRange,
    Family,
    LeaseTime,
    LeaseUnit,
    StaticRoute,
    Subnet,
)
from jackfield.model.bandwidth import Bandwidth, Rate
from jackfield.model.dns import Dns, DnsForwarder, DnsHost, DnsSrv, DnsTxt, Domain
from jackfield.model.guest import GuestInterface
from jackfield.model.mode import Mode
from jackfield.model.network import (
    Bridge,
    ForwardTarget,
    MacTableManager,
    Nat,
    Network,
    PciDriver,
    PortForward,
    Portgroup,
    Vde,
)
from jackfield.model.port import (
    BridgePlug,
    DirectPlug,
    HostdevPlug,
    NetworkPlug,
    Owner,
    Plug,
    Port,
    VdePlug,
)
from jackfield.model.uplink import DeviceUplink, PciAddress, PciUplink, PhysicalFunction, Uplink
from jackfield.model.values import DnsName, InterfaceName, MacAddress, NetworkName, Text
from jackfield.model.virtualport import VirtualPort, VirtualPortType
from jackfield.model.vlan import NativeMode, Vlan, VlanTag
from jackfield.model.vpn import Vpn, VpnPeer

__all__ = [
    "bandwidths",
    "definitions",
    "device_names",
    "dns",
    "guest_interfaces",
    "macs",
    "networks",
    "plugs",
    "portgroups",
    "ports",
    "subnets",
    "virtualports",
    "vlans",
    "vpns",
]

_PRINTABLE = st.characters(
    codec="utf-8",
    exclude_categories=("Cc", "Cs", "Cn", "Zl", "Zp"),
    exclude_characters="\ufffe\uffff",
)


def texts(max_size: int = 20) -> st.SearchStrategy[Text]:
    """One line of text, not empty."""
    return st.text(_PRINTABLE, min_size=1, max_size=max_size).map(Text)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A value or ``None``."""
    return st.none() | strategy


_ALPHANUMERIC = string.ascii_letters + string.digits

device_names = (
    st.text(_ALPHANUMERIC + "_.", min_size=1, max_size=15)
    .filter(lambda text: text not in {".", "..", "all", "default"})
    .map(InterfaceName)
)
network_names = (
    st.text(_PRINTABLE, min_size=1, max_size=20)
    .filter(lambda text: "/" not in text and text.strip() and text not in {".", ".."})
    .map(NetworkName)
)
_labels = st.text(_ALPHANUMERIC, min_size=1, max_size=8)
dns_names = st.lists(_labels, min_size=1, max_size=3).map(".".join).map(DnsName)
host_names = st.builds(
    lambda first, rest: DnsName(first + rest), st.sampled_from(string.ascii_letters), _labels
)


@st.composite
def macs(draw: st.DrawFn) -> MacAddress:
    """A unicast Ethernet address."""
    octets = draw(st.binary(min_size=6, max_size=6))
    first = octets[0] & 0xFE
    return MacAddress(":".join(f"{octet:02x}" for octet in (first, *octets[1:])))


uuids = st.uuids()


def _rates(*, floor: bool) -> st.SearchStrategy[Rate]:
    amount = st.integers(1, 1 << 40)
    with_average = st.builds(
        Rate,
        average=amount,
        peak=maybe(amount),
        burst=maybe(amount),
        floor=maybe(amount) if floor else st.none(),
    )
    return with_average | st.builds(Rate, floor=amount) if floor else with_average


def bandwidths(*, floor: bool = False, class_id: bool = False) -> st.SearchStrategy[Bandwidth]:
    """Limits in at least one direction."""
    return st.builds(
        Bandwidth,
        inbound=maybe(_rates(floor=floor)),
        outbound=maybe(_rates(floor=False)),
        class_id=maybe(st.integers(1, 0xFFFF)) if class_id else st.none(),
    ).filter(lambda one: bool(one.inbound or one.outbound))


@st.composite
def vlans(draw: st.DrawFn) -> Vlan:
    """An access VLAN or a trunk."""
    ids = draw(st.lists(st.integers(0, 4095), min_size=1, max_size=4, unique=True))
    native = draw(maybe(st.integers(0, len(ids) - 1)))
    mode = draw(st.sampled_from(NativeMode))
    tags = tuple(
        VlanTag(id=one, native_mode=mode if index == native else None)
        for index, one in enumerate(ids)
    )
    return Vlan(tags=tags, trunk=len(ids) > 1 or draw(st.booleans()))


_VEPA_PARAMETERS: dict[str, st.SearchStrategy[Any]] = {
    "manager_id": maybe(st.integers(0, 0xFF)),
    "type_id": maybe(st.integers(0, 0xFFFFFF)),
    "type_id_version": maybe(st.integers(0, 0xFF)),
    "instance_id": maybe(uuids),
}
_PROFILE = maybe(st.text(_ALPHANUMERIC + "-<&'\"", min_size=1, max_size=39).map(Text))


def virtualports(kinds: frozenset[VirtualPortType | None]) -> st.SearchStrategy[VirtualPort]:
    """A virtualport of one of ``kinds``, with parameters of that kind."""
    of_kind: dict[VirtualPortType | None, st.SearchStrategy[VirtualPort]] = {
        None: st.builds(
            VirtualPort, interface_id=maybe(uuids), profile_id=_PROFILE, **_VEPA_PARAMETERS
        ).filter(lambda one: one != VirtualPort()),
        VirtualPortType.VEPA: st.builds(
            VirtualPort, type=st.just(VirtualPortType.VEPA), **_VEPA_PARAMETERS
        ),
        VirtualPortType.VN_LINK: st.builds(
            VirtualPort, type=st.just(VirtualPortType.VN_LINK), profile_id=_PROFILE
        ),
        VirtualPortType.OPENVSWITCH: st.builds(
            VirtualPort,
            type=st.just(VirtualPortType.OPENVSWITCH),
            interface_id=maybe(uuids),
            profile_id=_PROFILE,
        ),
        VirtualPortType.MIDONET: st.builds(
            VirtualPort, type=st.just(VirtualPortType.MIDONET), interface_id=maybe(uuids)
        ),
    }
    ordered = sorted(kinds, key=lambda kind: "" if kind is None else kind.value)
    return st.sampled_from(ordered).flatmap(lambda kind: of_kind[kind])


ANY_KIND: frozenset[VirtualPortType | None] = frozenset({None, *VirtualPortType})
TYPED: frozenset[VirtualPortType | None] = frozenset(VirtualPortType)

pci_addresses = st.builds(
    PciAddress.of,
    domain=st.integers(0, 0xFFFF),
    bus=st.integers(0, 0xFF),
    slot=st.integers(0, 0x1F),
    function=st.integers(0, 7),
)
device_uplinks = st.builds(DeviceUplink, dev=device_names)


def uplink_lists(min_size: int = 0) -> st.SearchStrategy[tuple[Uplink, ...]]:
    """Uplinks of one kind, each once."""
    devices = st.lists(device_uplinks, min_size=min_size, max_size=4, unique=True)
    functions = st.lists(
        st.builds(PciUplink, address=pci_addresses), min_size=1, max_size=4, unique=True
    )
    physical = st.lists(st.builds(PhysicalFunction, dev=device_names), min_size=1, max_size=1)
    return (devices | functions | physical).map(lambda found: tuple(found))


_V4 = st.integers(0x01000000, 0xDFFFFF00).map(ipaddress.IPv4Address)
_V6 = st.integers(0, (1 << 128) - 1).map(ipaddress.IPv6Address)
addresses: st.SearchStrategy[Address] = _V4 | _V6
_guest_addresses = st.lists(addresses, max_size=3, unique=True).map(tuple)
leases = st.builds(
    LeaseTime,
    expiry=st.just(0),
) | st.builds(LeaseTime, expiry=st.integers(120, 100000), unit=st.sampled_from(LeaseUnit))


@st.composite
def _dhcp(draw: st.DrawFn, subnet: Subnet) -> Dhcp | None:
    assert subnet.interface is not None
    network = subnet.interface.network
    version = network.version
    room = min(network.num_addresses - 2, 60000)
    ranges = []
    base = int(network.network_address) + 1
    for _ in range(draw(st.integers(0, 2))):
        first = draw(st.integers(0, room - 1))
        border = (base + first) | 0xFFFF
        last = draw(st.integers(first, min(room - 1, border - base)))
        ends = [type(network.network_address)(base + one) for one in (first, last)]
        ranges.append(DhcpRange(start=ends[0], end=ends[1], lease=draw(maybe(leases))))
    ip = _V4 if version == 4 else _V6
    if version == 4:
        host = st.builds(
            DhcpHost,
            mac=macs(),
            id=st.none(),
            name=maybe(host_names),
            ip=ip,
            lease=maybe(leases),
        ) | st.builds(DhcpHost, name=host_names, ip=ip, lease=maybe(leases))
    else:
        identity = st.text("0123456789abcdef:", min_size=1, max_size=20).map(Text)
        host = st.builds(DhcpHost, id=identity, name=maybe(host_names), ip=ip, lease=maybe(leases))
    hosts = draw(st.lists(host, max_size=2))
    bootp = None
    if version == 4:
        server = maybe(_V4.map(str).map(Text))
        bootp = draw(maybe(st.builds(Bootp, file=texts(), server=server)))
    if not ranges and not hosts:
        return None
    return Dhcp(ranges=tuple(ranges), hosts=tuple(hosts), bootp=bootp)


@st.composite
def subnets(draw: st.DrawFn) -> Subnet:
    """An ``<ip>`` of either family, spelled in any way, with DHCP or without."""
    version = draw(st.sampled_from((4, 6)))
    netmask: ipaddress.IPv4Address | None = None
    prefix: int | None
    if version == 4:
        address: Address = draw(_V4)
        family = draw(st.sampled_from((None, Family.IPV4)))
        prefix = draw(maybe(st.integers(8, 30)))
        if prefix is not None and draw(st.booleans()):
            netmask = ipaddress.IPv4Network((0, prefix)).netmask
            prefix = None
    else:
        address = draw(_V6)
        family = Family.IPV6
        prefix = draw(maybe(st.integers(16, 120)))
    subnet = Subnet(
        address=address,
        family=family,
        netmask=netmask,
        prefix=prefix,
        local_ptr=draw(maybe(st.booleans())),
        tftp_root=draw(maybe(texts())) if version == 4 else None,
    )
    return msgspec.structs.replace(subnet, dhcp=draw(maybe(_dhcp(subnet))))


@st.composite
def _routes(draw: st.DrawFn, gateways: tuple[Subnet, ...]) -> StaticRoute:
    subnet = draw(st.sampled_from(gateways))
    assert subnet.interface is not None
    gateway = subnet.interface.ip
    version = gateway.version
    prefix = draw(st.integers(0, 32 if version == 4 else 128))
    number = draw(st.integers(0, (1 << prefix) - 1))
    width = 32 if version == 4 else 128
    address = type(gateway)(number << (width - prefix))
    netmask = None
    spelled: int | None = prefix if prefix or draw(st.booleans()) else None
    if version == 4 and spelled and draw(st.booleans()):
        netmask = ipaddress.IPv4Network((0, prefix)).netmask
        spelled = None
    family = Family.IPV6 if version == 6 else draw(st.sampled_from((None, Family.IPV4)))
    return StaticRoute(
        address=address,
        gateway=gateway,
        family=family,
        netmask=netmask,
        prefix=spelled,
        metric=draw(maybe(st.integers(1, 0xFFFFFFFF))),
    )


services = st.text(_ALPHANUMERIC + "-_", min_size=1, max_size=20).map(Text)
_srvs = st.builds(
    DnsSrv,
    service=services,
    protocol=st.sampled_from((Text("tcp"), Text("udp"))),
    domain=maybe(dns_names),
    target=dns_names | st.just(DnsName(".")),
    port=maybe(st.integers(1, 65535)),
    priority=maybe(st.integers(1, 65535)),
    weight=maybe(st.integers(1, 65535)),
) | st.builds(
    DnsSrv,
    service=services,
    protocol=st.sampled_from((Text("tcp"), Text("udp"))),
    domain=maybe(dns_names),
)


def dns() -> st.SearchStrategy[Dns]:
    """A ``<dns>`` that says something."""
    forwarder = st.builds(
        DnsForwarder,
        domain=maybe(dns_names),
        address=maybe(addresses),
        port=maybe(st.integers(1, 65535)),
    ).filter(lambda one: one.domain is not None or one.address is not None)
    txt = st.builds(
        DnsTxt,
        name=texts().filter(lambda text: not set(" ,") & set(text)),
        value=texts() | st.just(Text("")),
    )
    host = st.builds(
        DnsHost, ip=addresses, hostnames=st.lists(dns_names, min_size=1, max_size=3).map(tuple)
    )

    def tuples(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.lists(strategy, max_size=2).map(tuple)

    full = st.builds(
        Dns,
        enable=st.sampled_from((None, True)),
        forward_plain_names=maybe(st.booleans()),
        forwarders=tuples(forwarder),
        txts=tuples(txt),
        srvs=tuples(_srvs),
        hosts=tuples(host),
    )
    off = st.builds(Dns, enable=st.just(False), forward_plain_names=maybe(st.booleans()))
    return (full | off).filter(lambda one: one != Dns())


domains = st.builds(
    Domain, name=dns_names, local_only=maybe(st.booleans()), register=maybe(st.booleans())
)


@st.composite
def _nats(draw: st.DrawFn) -> Nat:
    first = draw(_V4)
    last = ipaddress.IPv4Address(draw(st.integers(int(first), int(first) | 0xFFFF)))
    low, high = sorted((draw(st.integers(0, 65535)), draw(st.integers(0, 65535))))
    with_addresses, with_ports = draw(st.booleans()), draw(st.booleans())
    return Nat(
        ipv6=draw(maybe(st.booleans())),
        address_start=first if with_addresses else None,
        address_end=last if with_addresses else None,
        port_start=low if with_ports else None,
        port_end=high if with_ports else None,
    )


@st.composite
def _port_forwards(draw: st.DrawFn, uplinks: tuple[Uplink, ...]) -> PortForward:
    start = draw(st.integers(1, 60000))
    length = draw(st.integers(0, 5000))
    to = draw(st.integers(1, 65535 - length))
    target = draw(
        st.builds(ForwardTarget, mac=macs())
        | st.builds(ForwardTarget, name=texts())
        | st.builds(ForwardTarget, ip=_V4)
    )
    devices = [one.dev for one in uplinks if isinstance(one, DeviceUplink)]
    return PortForward(
        protocol=draw(st.sampled_from(("tcp", "udp"))),
        start=start,
        end=start + length,
        to=to,
        target=target,
        address=draw(maybe(_V4)),
        dev=draw(maybe(st.sampled_from(devices))) if devices else draw(maybe(device_names)),
    )


_keys = st.binary(min_size=32, max_size=32).map(base64.b64encode).map(bytes.decode).map(Text)


def _networks_of(address: Address, prefix: int) -> Any:
    return ipaddress.ip_network((address, prefix), strict=False)


allowed = st.builds(_networks_of, _V4, st.integers(0, 32)) | st.builds(
    _networks_of, _V6, st.integers(0, 128)
)
_interfaces = st.builds(
    lambda address, prefix: ipaddress.ip_interface((address, prefix)), _V4, st.integers(0, 32)
) | st.builds(
    lambda address, prefix: ipaddress.ip_interface((address, prefix)), _V6, st.integers(0, 128)
)


def vpns(*, vni: bool) -> st.SearchStrategy[Vpn]:
    """A tunnel, for bridges (``vni``) or as an uplink."""
    peer = st.builds(
        VpnPeer,
        public_key=_keys,
        name=maybe(texts()),
        endpoint=maybe(
            st.builds(lambda ip, port: Text(f"{ip}:{port}"), _V4, st.integers(1, 65535))
            | st.builds(lambda ip, port: Text(f"[{ip}]:{port}"), _V6, st.integers(1, 65535))
        ),
        keepalive=maybe(st.integers(0, 65535)),
        allowed=st.lists(allowed, max_size=3).map(tuple),
    )
    return st.builds(
        Vpn,
        dev=maybe(device_names),
        listen_port=maybe(st.integers(1, 65535)),
        vni=st.integers(1, 0xFFFFFF) if vni else st.none(),
        addresses=st.lists(_interfaces, max_size=2).map(tuple),
        peers=st.lists(peer, max_size=2, unique_by=lambda one: one.public_key).map(tuple),
    )


@st.composite
def portgroups(
    draw: st.DrawFn,
    uplinks: tuple[Uplink, ...] = (),
    kinds: frozenset[VirtualPortType | None] = ANY_KIND,
) -> Portgroup:
    """A portgroup that uses some of ``uplinks``."""
    own = [one for one in uplinks if draw(st.booleans())]
    guarded = draw(maybe(st.booleans()))
    return Portgroup(
        name=draw(texts()),
        default=draw(st.booleans()),
        count=draw(maybe(st.integers(0, 100))),
        uplinks=tuple(own),
        virtualport=draw(maybe(virtualports(kinds))) if kinds else None,
        vlan=draw(maybe(vlans())),
        bandwidth=draw(maybe(bandwidths())),
        trust_guest_rx_filters=draw(maybe(st.booleans())),
        isolated=draw(maybe(st.booleans())),
        anti_spoofing=guarded,
        guest_addresses=draw(_guest_addresses) if guarded else (),
    )


_METADATA = (
    "<metadata/>",
    "<metadata><a:b xmlns:a='urn:x' c='d'><a:e/>text</a:b></metadata>",
    "<metadata><!-- a --><a:b xmlns:a='urn:x'><![CDATA[<x>]]></a:b><y xmlns='urn:y'/></metadata>",
)
_managers = maybe(st.sampled_from(MacTableManager))


@st.composite
def _drawn_networks(draw: st.DrawFn) -> Network:
    mode = draw(st.sampled_from(Mode))
    fields: dict[str, Any] = {"mode": mode, "name": draw(network_names)}
    nets = tuple(draw(st.lists(subnets(), min_size=mode is not Mode.ISOLATED, max_size=3)))
    uplinks: tuple[Uplink, ...] = ()
    fields["bridge"] = None
    if mode.is_routed:
        if mode in (Mode.NAT, Mode.ROUTE, Mode.SUBNET):
            least = 1 if mode is Mode.SUBNET else 0
            uplinks = tuple(draw(st.lists(device_uplinks, min_size=least, max_size=3, unique=True)))
        fields["bridge"] = draw(
            st.builds(
                Bridge,
                name=maybe(device_names),
                stp=st.booleans(),
                delay=st.integers(0, 30),
                zone=maybe(texts()),
                mac_table_manager=_managers,
            )
        )
        fields["mtu"] = draw(maybe(st.integers(68, 65535)))
    else:
        nets = nets[: draw(st.integers(0, len(nets)))]
        uplinks = draw(uplink_lists())
    fields["subnets"], fields["uplinks"] = nets, uplinks
    if nets:
        fields["routes"] = tuple(draw(st.lists(_routes(nets), max_size=2)))
    if mode is Mode.SUBNET:
        fields["proxy_arp"] = draw(st.booleans())
        fields["proxy_ndp"] = not fields["proxy_arp"] or draw(st.booleans())
    if mode is Mode.NAT:
        fields["nat"] = draw(maybe(_nats().filter(lambda one: one != Nat())))
    if mode in (Mode.NAT, Mode.ROUTE, Mode.BRIDGE):
        fields["vpn"] = draw(maybe(vpns(vni=mode is Mode.BRIDGE)))
    if mode.is_routed and mode is not Mode.ISOLATED:
        fields["port_forwards"] = tuple(draw(st.lists(_port_forwards(uplinks), max_size=2)))
    if mode is Mode.HOSTDEV:
        fields["managed"] = draw(st.booleans())
        fields["driver"] = draw(
            maybe(
                st.builds(
                    PciDriver, name=st.sampled_from((None, "vfio", "kvm")), model=maybe(texts())
                ).filter(lambda one: one != PciDriver())
            )
        )
    if mode is Mode.BRIDGE:
        bridge = draw(
            maybe(
                st.builds(
                    Bridge,
                    name=maybe(device_names),
                    mac_table_manager=_managers,
                    uplinks_mtu=maybe(st.integers(68, 65535)) if uplinks else st.none(),
                )
            )
        )
        fields["bridge"] = None if bridge == Bridge() else bridge
    if mode.is_routed or mode is Mode.BRIDGE:
        fields["vde"] = draw(maybe(st.builds(Vde, group=maybe(texts()))))
    fields["portgroups"] = tuple(draw(st.lists(portgroups(uplinks), max_size=3)))
    guarded = draw(maybe(st.booleans()))
    return Network(
        uuid=draw(maybe(uuids)),
        title=draw(maybe(texts())),
        description=draw(maybe(texts())),
        metadata=draw(maybe(st.sampled_from(_METADATA).map(canonical_metadata))),
        ipv6=draw(st.booleans()),
        trust_guest_rx_filters=draw(maybe(st.booleans())),
        mac=draw(maybe(macs())),
        domain=draw(maybe(domains)),
        dns=draw(maybe(dns())),
        bandwidth=draw(maybe(bandwidths())),
        vlan=draw(maybe(vlans())),
        virtualport=draw(maybe(virtualports(TYPED))),
        isolated=draw(maybe(st.booleans())),
        anti_spoofing=guarded,
        guest_addresses=draw(_guest_addresses) if guarded else (),
        dnsmasq_options=tuple(draw(st.lists(texts(), max_size=2))),
        **fields,
    )


def _passes(rule: Callable[[Network], None]) -> Callable[[Network], bool]:
    def passes(network: Network) -> bool:
        try:
            rule(network)
        except (DocumentError, UnsupportedConfiguration):
            return False
        return True

    return passes


def networks() -> st.SearchStrategy[Network]:
    """Any network that a document can say."""
    return _drawn_networks().filter(_passes(check))


def _definable(network: Network) -> Network:
    """Return ``network`` without what only a definition is refused for."""
    mode = network.mode
    changes: dict[str, Any] = {}
    if not mode.is_routed:
        changes |= {"mac": None, "subnets": (), "routes": (), "domain": None, "bandwidth": None}
        changes |= {"dns": None, "isolated": None}
        changes["portgroups"] = tuple(
            msgspec.structs.replace(one, isolated=None) for one in network.portgroups
        )
    if network.vpn is not None and mode is not Mode.BRIDGE:
        changes["uplinks"] = ()
        changes["port_forwards"] = ()
        changes["portgroups"] = tuple(
            msgspec.structs.replace(one, uplinks=()) for one in network.portgroups
        )
    plain = msgspec.structs.replace(network, **changes)
    names: set[str] = set()
    groups = []
    for index, one in enumerate(plain.portgroups):
        if one.name in names:
            continue
        names.add(one.name)
        groups.append(msgspec.structs.replace(one, default=one.default and index == 0))
    changes["portgroups"] = tuple(groups)
    if len([one for one in plain.subnets if one.dhcp]) > 1:
        changes["subnets"] = tuple(msgspec.structs.replace(one, dhcp=None) for one in plain.subnets)
    plain = msgspec.structs.replace(network, **changes)
    if not _passes(check_definition)(plain):
        # What is left are virtualports, vlans and filters that do not fit the mode.
        plain = msgspec.structs.replace(
            plain,
            virtualport=None,
            vlan=None,
            anti_spoofing=None,
            guest_addresses=(),
            portgroups=tuple(
                msgspec.structs.replace(
                    one, virtualport=None, vlan=None, anti_spoofing=None, guest_addresses=()
                )
                for one in plain.portgroups
            ),
        )
    return plain


def definitions() -> st.SearchStrategy[Network]:
    """Any network that can be defined."""
    return networks().map(_definable).filter(_passes(check)).filter(_passes(check_definition))


def plugs() -> st.SearchStrategy[Plug]:
    """A plug of any kind."""
    return st.one_of(
        st.builds(NetworkPlug, bridge=device_names, mac_table_manager=_managers),
        st.builds(BridgePlug, bridge=device_names, mac_table_manager=_managers),
        st.builds(
            DirectPlug,
            dev=device_names,
            mode=st.sampled_from(("bridge", "vepa", "private", "passthrough")),
        ),
        st.builds(
            HostdevPlug,
            address=pci_addresses,
            managed=maybe(st.booleans()),
            driver=st.sampled_from((None, "vfio", "kvm")),
            model=maybe(texts()),
        ),
        st.builds(VdePlug, path=texts()),
    )


def ports() -> st.SearchStrategy[Port]:
    """A port, as asked for or as allocated."""
    return st.builds(
        Port,
        uuid=maybe(uuids),
        owner=st.builds(Owner, name=texts(), uuid=uuids),
        mac=macs(),
        group=maybe(texts()),
        virtualport=maybe(virtualports(TYPED)),
        bandwidth=maybe(bandwidths(floor=True, class_id=True)),
        vlan=maybe(vlans()),
        isolated=maybe(st.booleans()),
        trust_guest_rx_filters=maybe(st.booleans()),
        plug=maybe(plugs()),
    )


def guest_interfaces() -> st.SearchStrategy[GuestInterface]:
    """A guest interface of type ``network``."""
    return st.builds(
        GuestInterface,
        network=network_names,
        portgroup=maybe(texts()),
        mac=maybe(macs()),
        virtualport=maybe(virtualports(ANY_KIND)),
        vlan=maybe(vlans()),
        bandwidth=maybe(bandwidths(floor=True)),
        trust_guest_rx_filters=maybe(st.booleans()),
        isolated=maybe(st.booleans()),
    )
