"""The files of the daemon's sockets, removed or taken by somebody else while it runs."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.host import Host
from tests.lab.virsh import CONFIG
from tests.lab.wait import wait_for
from tests.rpc.client import RawClient, Refused

pytestmark = pytest.mark.lab

LIBVIRT = Path("/run/libvirt/virtnetworkd-sock")
LIBVIRT_RO = LIBVIRT.with_name(f"{LIBVIRT.name}-ro")


def answers(host: Host, path: Path) -> bool:
    """Return whether somebody listens at a socket."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(host.file(str(path))))
        except OSError:
            return False
    return True


def test_removed_files_come_back(host: Host) -> None:
    """One by one or with their directory; who is connected already notices nothing."""
    with Daemon(host, config=CONFIG) as daemon:
        before = RawClient(host.file(str(LIBVIRT)))
        with before:
            before.open()
            for name in ("api.sock", "fd.sock"):
                host.file(f"{RUN_DIR}/{name}").unlink()
            shutil.rmtree(host.file(str(LIBVIRT.parent)))
            daemon.wait_ready()
            wait_for(lambda: answers(host, LIBVIRT), 10, "libvirt's socket")
            wait_for(lambda: answers(host, LIBVIRT_RO), 10, "libvirt's read-only socket")
            with RawClient(host.file(str(LIBVIRT))) as after:
                assert ["network:///system"] == after.open().call("connect_get_uri")
            with RawClient(host.file(str(LIBVIRT_RO))) as looking:
                looking.open()
                with pytest.raises(Refused, match="read only access"):
                    looking.call("network_define_xml", "<network/>")
            wait_for(host.file(f"{RUN_DIR}/fd.sock").is_socket, 10, "the socket for descriptors")
            assert ["network:///system"] == before.call("connect_get_uri")
        said = {line["message"] for line in daemon.log() if line["logger"] == "jackfield.listener"}
        assert {
            f"somebody has removed the socket {path}; it is there again"
            for path in (f"{RUN_DIR}/api.sock", f"{RUN_DIR}/fd.sock", LIBVIRT, LIBVIRT_RO)
        } == said


def test_somebody_elses_in_their_place(host: Host) -> None:
    """It is told of once, neither replaced nor removed at the end, and ours is back after it."""
    path = host.file(str(LIBVIRT))
    with Daemon(host, config=CONFIG) as daemon:
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen()

            def told() -> int:
                return len([line for line in daemon.log() if "cannot connect" in line["message"]])

            wait_for(told, 10, "a line in the log")
            daemon.cli("list")
            path.unlink()
        wait_for(lambda: answers(host, LIBVIRT), 10, "our socket")
        assert 1 == told()
        path.unlink()
        path.write_text("not ours")
        daemon.terminate()
        assert "not ours" == path.read_text()
        assert not host.file(str(LIBVIRT_RO)).exists()
