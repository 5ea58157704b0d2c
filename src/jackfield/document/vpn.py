"""The tunnel: Jackfield's ``<vpn>``.

    <vpn type='wireguard' dev='wg-red' listenPort='51820' vni='42'>
      <address address='10.99.0.1' prefix='24'/>
      <peer name='hq' publicKey='BASE64' endpoint='198.51.100.7:51820' keepalive='25'>
        <allow address='10.0.0.0' prefix='8'/>
      </peer>
    </vpn>

Private keys never appear in a document; this host's public key is written into live ones only
and is not read back.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress

from jackfield.document.address import address_text, parse_address
from jackfield.document.xml import Element, escape, fail, integer, required, typed
from jackfield.model.address import Address
from jackfield.model.values import InterfaceName, Text
from jackfield.model.vpn import Vpn, VpnPeer, VpnType

__all__ = ["read_vpn", "write_vpn"]


def _public_key(text: str) -> Text:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32 or base64.b64encode(key).decode() != text:
        raise ValueError("a WireGuard key is 32 bytes in base64, 44 characters")
    return Text(text)


def _endpoint(text: str) -> Text:
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = parse_address(host[1:-1] if bracketed else host)
        if not colon or bracketed != (address.version == 6):
            raise ValueError
        if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
            raise ValueError
    except ValueError:
        raise ValueError(
            "an endpoint is ADDRESS:PORT or [IPV6ADDRESS]:PORT, as 198.51.100.7:51820"
        ) from None
    return Text(text)


def _address_with_prefix(element: Element) -> tuple[Address, int]:
    required(element, "address")
    address = typed(element, "address", parse_address)
    assert address is not None
    widest = address.max_prefixlen
    prefix = integer(element, "prefix", 0, widest)
    return address, widest if prefix is None else prefix


def _read_peer(element: Element) -> VpnPeer:
    required(element, "publicKey")
    key = typed(element, "publicKey", _public_key)
    assert key is not None
    allowed = []
    for one in element.iterchildren("allow"):
        try:
            allowed.append(ipaddress.ip_network(_address_with_prefix(one)))
        except ValueError as error:
            fail(one, str(error))
    return VpnPeer(
        public_key=key,
        name=typed(element, "name", Text),
        endpoint=typed(element, "endpoint", _endpoint),
        keepalive=integer(element, "keepalive", 0, 65535),
        allowed=tuple(allowed),
    )


def read_vpn(element: Element) -> Vpn:
    """Read a ``<vpn>``."""
    kind = required(element, "type")
    if kind != VpnType.WIREGUARD.value:
        fail(element, f"has type='{kind}': allowed is 'wireguard'")
    peers = tuple(_read_peer(one) for one in element.iterchildren("peer"))
    keys = [peer.public_key for peer in peers]
    if len(set(keys)) != len(keys):
        fail(element, "has two peers with the same publicKey")
    return Vpn(
        dev=typed(element, "dev", InterfaceName),
        listen_port=integer(element, "listenPort", 1, 65535),
        vni=integer(element, "vni", 1, 0xFFFFFF),
        addresses=tuple(
            ipaddress.ip_interface(_address_with_prefix(one))
            for one in element.iterchildren("address")
        ),
        peers=peers,
    )


def _write_peer(out: list[str], indent: str, peer: VpnPeer) -> None:
    head = f"{indent}<peer"
    if peer.name is not None:
        head += f" name='{escape(peer.name)}'"
    head += f" publicKey='{escape(peer.public_key)}'"
    if peer.endpoint is not None:
        head += f" endpoint='{escape(peer.endpoint)}'"
    if peer.keepalive is not None:
        head += f" keepalive='{peer.keepalive}'"
    if not peer.allowed:
        out.append(head + "/>\n")
        return
    out.append(head + ">\n")
    for network in peer.allowed:
        address = address_text(network.network_address)
        out.append(f"{indent}  <allow address='{address}' prefix='{network.prefixlen}'/>\n")
    out.append(f"{indent}</peer>\n")


def write_vpn(out: list[str], indent: str, vpn: Vpn, *, inactive: bool) -> None:
    """Append the ``<vpn>`` of ``vpn``; a live one (not ``inactive``) shows the public key."""
    head = f"{indent}<vpn type='{vpn.type.value}'"
    if vpn.dev is not None:
        head += f" dev='{vpn.dev}'"
    if vpn.listen_port is not None:
        head += f" listenPort='{vpn.listen_port}'"
    if vpn.vni is not None:
        head += f" vni='{vpn.vni}'"
    if vpn.public_key is not None and not inactive:
        head += f" publicKey='{escape(vpn.public_key)}'"
    if not vpn.addresses and not vpn.peers:
        out.append(head + "/>\n")
        return
    out.append(head + ">\n")
    for one in vpn.addresses:
        prefix = one.network.prefixlen
        out.append(f"{indent}  <address address='{address_text(one.ip)}' prefix='{prefix}'/>\n")
    for peer in vpn.peers:
        _write_peer(out, indent + "  ", peer)
    out.append(f"{indent}</vpn>\n")
