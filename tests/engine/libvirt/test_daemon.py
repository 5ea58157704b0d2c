"""Which daemon of libvirt's is asked for its networks."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from jackfield.engine.libvirt.daemon import LibvirtDaemon

NETWORKS, ALL, QEMU = "virtnetworkd-sock", "libvirt-sock", "virtqemud-sock"


@contextlib.contextmanager
def listening(directory: Path, names: list[str]) -> Iterator[None]:
    """Have somebody listen at sockets of these names."""
    with contextlib.ExitStack() as stack:
        for name in names:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(directory / name))
            listener.listen()
        yield


@pytest.mark.parametrize(
    ("names", "own", "found", "inside"),
    [
        ([ALL], [], ALL, True),
        ([ALL, NETWORKS, QEMU], [], NETWORKS, False),
        # virtnetworkd does not run, and virtproxyd would start it.
        ([ALL, QEMU], [], ALL, False),
        # We have virtnetworkd's place, and virtproxyd would ask us.
        ([ALL, NETWORKS, QEMU], [NETWORKS], None, False),
        ([ALL, NETWORKS, "virtlxcd-sock"], [NETWORKS], None, False),
        # A libvirtd has networks of its own, whatever place we have.
        ([ALL, NETWORKS], [NETWORKS], ALL, True),
        ([], [], None, False),
    ],
)
def test_who_is_asked(
    tmp_path: Path, names: list[str], own: list[str], found: str | None, inside: bool
) -> None:
    """Never one that would hand on to us what it is asked."""
    sockets = [tmp_path / NETWORKS, tmp_path / ALL]
    with listening(tmp_path, names):
        daemon = LibvirtDaemon.find(sockets, [tmp_path / name for name in own])
        assert found == (None if daemon is None else daemon.path.name)
        assert inside == (daemon is not None and daemon.has_networks_inside)
