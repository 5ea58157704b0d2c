"""Tables of the kernel's old firewalls."""

from __future__ import annotations

import ctypes
import socket

import pytest

from jackfield.host.legacy import read_legacy_tables
from tests.lab.namespace import NetworkNamespace

pytestmark = pytest.mark.kernel

_ARPT_SO_GET_INFO = 96  # linux/netfilter_arp/arp_tables.h
_LENGTH = 68  # sizeof(struct arpt_getinfo)


def test_tables_of_arptables_are_told_of(netns: NetworkNamespace) -> None:
    """A namespace that has none says nothing, and asking makes none."""
    with netns.entered():
        for _ in range(2):
            assert ([], []) == read_legacy_tables()
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as asking:
            # Who asks for a table has the kernel make it, as arptables-legacy does.
            table = ctypes.create_string_buffer(b"filter", _LENGTH)
            length = ctypes.c_uint(_LENGTH)
            libc = ctypes.CDLL(None, use_errno=True)
            arguments = (socket.IPPROTO_IP, _ARPT_SO_GET_INFO, table, ctypes.byref(length))
            assert 0 == libc.getsockopt(asking.fileno(), *arguments)
        tables, notes = read_legacy_tables()
    assert [] == tables
    said = "tables of arptables-legacy (filter) are there, and are not looked at: "
    assert [f"{said}arptables-legacy -L"] == notes
