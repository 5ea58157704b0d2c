"""Sockets that the doors listen at."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from jackfield.errors import ConfigurationError
from jackfield.listener import close_servers, listen


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    """Who mistypes a path loses nothing."""
    path, target = tmp_path / "sock", tmp_path / "target"
    target.write_text("precious")
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(target)
    with pytest.raises(ConfigurationError, match=f"{path}: something else than a socket is there"):
        listen(path)
    assert path.is_dir() if kind == "directory" else "precious" == path.read_text()


def test_where_there_can_be_no_socket(tmp_path: Path) -> None:
    """A path that is too long, or below what is no directory, is an error that names it."""
    longest = tmp_path / ("x" * (107 - len(str(tmp_path)) - 1))
    listen(longest).close()
    with pytest.raises(ConfigurationError, match=r"is 108 bytes long, and .* may have 107"):
        listen(Path(f"{longest}x"))
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        listen(tmp_path / "none" / "sock")


def test_who_was_accepted_last_is_known(tmp_path: Path) -> None:
    """A server that is closed while it accepts has a protocol for each of those connections."""
    made: list[asyncio.BaseTransport] = []

    class Noting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(transport)

    async def close_while_accepting(clients: list[socket.socket]) -> None:
        listener = listen(tmp_path / "sock")
        server = await asyncio.get_running_loop().create_unix_server(Noting, sock=listener)
        for client in clients:
            client.connect(str(tmp_path / "sock"))
        # In the first turn they are found to be there, in the second one accepted.
        for _ in range(2):
            await asyncio.sleep(0)
        await close_servers([server])
        assert not server.is_serving()
        assert len(clients) == len(made)
        for transport in made:
            transport.close()
        await asyncio.sleep(0)

    clients = [socket.socket(socket.AF_UNIX) for _ in range(20)]
    try:
        asyncio.run(close_while_accepting(clients))
    finally:
        for client in clients:
            client.close()
