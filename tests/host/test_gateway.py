"""Asking gateways: answered by a real neighbour, or by nobody."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import pytest

from jackfield.host.gateway import Gateway, answers
from jackfield.model.values import InterfaceName
from tests.lab.namespace import NetworkNamespace

pytestmark = pytest.mark.kernel

ETH0 = InterfaceName("eth0")


@pytest.fixture(autouse=True)
def cable(here: NetworkNamespace, there: NetworkNamespace) -> None:
    """Lay a cable; there are the gateways, here an address of one of their subnets."""
    here.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(there.path))
    for where, number in ((here, 10), (there, 1)):
        where.ip("addr", "add", f"192.0.2.{number}/24", "dev", "eth0")
        where.ip("-6", "addr", "add", f"2001:db8::{number}/64", "dev", "eth0", "nodad")
        where.ip("link", "set", "eth0", "up")


async def close(asker: socket.socket) -> None:
    """Close a socket here and now."""
    asker.close()


def asked(address: str, *, link: InterfaceName = ETH0, seconds: float = 0.5) -> bool:
    """Return whether a gateway answers."""
    gateway = Gateway(
        address=ipaddress.ip_address(address), source=ipaddress.IPv4Address("192.0.2.10")
    )
    return asyncio.run(answers(gateway, link, seconds, close))


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_a_gateway_that_is_there(address: str) -> None:
    """It answers at once, however long it may take; one by the same link does not for it."""
    assert asked(address, seconds=20)
    assert not asked(address.removesuffix("1") + "9")


def test_a_link_local_gateway(there: NetworkNamespace) -> None:
    """As routers make themselves known."""
    there.ip("-6", "addr", "add", "fe80::1/64", "dev", "eth0", "nodad")
    assert asked("fe80::1", seconds=20)


def test_without_an_own_address(here: NetworkNamespace) -> None:
    """A request from nobody is answered as well (RFC 5227)."""
    here.ip("addr", "flush", "dev", "eth0")
    gateway = Gateway(address=ipaddress.IPv4Address("192.0.2.1"))
    assert asyncio.run(answers(gateway, ETH0, 20, close))


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_a_link_that_cannot_be_asked_on(here: NetworkNamespace, address: str) -> None:
    """Down, or not there: no answer, and no error."""
    here.ip("link", "set", "eth0", "down")
    assert not asked(address)
    assert not asked(address, link=InterfaceName("eth7"))


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_a_gateway_that_comes_later(
    here: NetworkNamespace, there: NetworkNamespace, address: str
) -> None:
    """It is asked again and again, over a link that comes up meanwhile."""
    there.ip("link", "set", "eth0", "down")
    here.ip("link", "set", "eth0", "down")

    async def later() -> bool:
        gateway = Gateway(address=ipaddress.ip_address(address))
        asking = asyncio.create_task(answers(gateway, ETH0, 30, close))
        await asyncio.sleep(0.5)
        assert not asking.done()
        for where in (here, there):
            where.ip("link", "set", "eth0", "up")
        if ":" in address:
            for where, number in ((here, 10), (there, 1)):
                where.ip("-6", "addr", "add", f"2001:db8::{number}/64", "dev", "eth0", "nodad")
        return await asking

    assert asyncio.run(later())
