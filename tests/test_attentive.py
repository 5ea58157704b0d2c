"""The event loop that looks before it sleeps serves as any other."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

from jackfield.attentive import LOOK, new_event_loop

_ROUNDS = 20


def _echo(server: socket.socket, pause: float) -> None:
    for _ in range(_ROUNDS):
        data = server.recv(1)
        time.sleep(pause)
        server.sendall(data)


def test_what_comes_at_once_and_what_comes_late() -> None:
    """An answer is seen while it looks, and when it sleeps already."""

    async def ask(client: socket.socket) -> None:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        for number in range(_ROUNDS):
            await loop.sock_sendall(client, bytes([number]))
            assert bytes([number]) == await asyncio.wait_for(loop.sock_recv(client, 1), 10)

    for pause in (0, 4 * LOOK, 100 * LOOK):
        client, server = socket.socketpair()
        with client, server:
            thread = threading.Thread(target=_echo, args=(server, pause), daemon=True)
            thread.start()
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(ask(client))
            thread.join(10)


def test_timers_and_other_threads() -> None:
    """Nothing is called too early, and another thread wakes the loop that sleeps."""

    async def wait() -> None:
        loop = asyncio.get_running_loop()
        for seconds in (LOOK / 2, LOOK * 2, LOOK * 100):
            # What is ready now has the loop look.
            await asyncio.to_thread(lambda: None)
            begin = loop.time()
            await asyncio.sleep(seconds)
            assert loop.time() - begin >= seconds
        woken = asyncio.Event()
        threading.Timer(0.01, loop.call_soon_threadsafe, [woken.set]).start()
        await asyncio.wait_for(woken.wait(), 10)

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(wait())
