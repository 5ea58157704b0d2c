"""WireGuard in a guest: a function that ``inside.py`` runs there, for tests outside."""

from __future__ import annotations

import base64
import secrets

from pyroute2 import WireGuard

__all__ = ["join"]


def join(one: str, other: str, allowed: dict[str, list[str]]) -> None:
    """Make two WireGuard links of this machine each other's peer, over loopback.

    ``allowed`` has by link the prefixes whose packets it takes from its peer, and sends there.
    The links may be moved into other namespaces afterwards: what they send goes on here.
    """
    with WireGuard() as wireguard:
        ports = {one: 51820, other: 51821}
        for name, port in ports.items():
            key = base64.b64encode(secrets.token_bytes(32)).decode()
            wireguard.set(name, private_key=key, listen_port=port)
        for name, peer in ((one, other), (other, one)):
            (found,) = wireguard.info(peer)
            public = found.get_attr("WGDEVICE_A_PUBLIC_KEY")
            wireguard.set(
                name,
                peer={
                    "public_key": public if isinstance(public, str) else public.decode(),
                    "endpoint_addr": "127.0.0.1",
                    "endpoint_port": ports[peer],
                    "allowed_ips": allowed[name],
                },
            )
