"""The kernel thread: jobs in order, and what is told only when it is settled."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import time

import pytest

from jackfield.errors import HostError
from jackfield.host.thread import KernelThread


class Tools:
    """What the jobs work with: what was done, and whether it is settled."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.gate = threading.Event()
        self.unsettled = False

    def settle(self, wait: bool) -> bool:
        """Note that the disk was waited for."""
        if wait and self.unsettled:
            self.done.append("settled")
            self.unsettled = False
        return not self.unsettled

    def hold(self) -> None:
        """Wait until the gate is open."""
        assert self.gate.wait(10)

    def keep(self, name: str) -> str:
        """Do something that must be settled."""
        self.done.append(name)
        self.unsettled = True
        return name


async def opened() -> tuple[KernelThread[Tools], Tools]:
    """Return a thread with its tools."""
    tools = Tools()
    thread: KernelThread[Tools] = KernelThread(lambda: tools, Tools.settle)
    await thread.open()
    return thread, tools


def test_writes_that_wait_are_settled_together() -> None:
    """One settling is for all of them, and each is told what came of its own."""

    async def run() -> tuple[list[str], list[str]]:
        thread, tools = await opened()
        held = asyncio.create_task(thread.run(Tools.hold))
        await asyncio.sleep(0)
        writes = [
            asyncio.create_task(thread.write(functools.partial(Tools.keep, name=name)))
            for name in ("a", "b", "c")
        ]
        await asyncio.sleep(0)
        tools.gate.set()
        told = await asyncio.gather(*writes)
        await held
        await thread.close(lambda _: None)
        return told, tools.done

    assert (["a", "b", "c"], ["a", "b", "c", "settled"]) == asyncio.run(run())


def test_a_write_does_not_wait_for_a_job_after_it() -> None:
    """It is settled before something that takes its time begins."""

    async def run() -> list[str]:
        thread, tools = await opened()
        held = asyncio.create_task(thread.run(Tools.hold))
        await asyncio.sleep(0)
        write = asyncio.create_task(thread.write(lambda tools: tools.keep("a")))
        job = asyncio.create_task(thread.run(lambda tools: tools.done.append("job")))
        await asyncio.sleep(0)
        tools.gate.set()
        await asyncio.gather(held, write, job)
        await thread.close(lambda _: None)
        return tools.done

    assert ["a", "settled", "job"] == asyncio.run(run())


def test_what_cannot_be_settled_is_told_to_all() -> None:
    """Nobody is told that it is done, and the thread goes on."""

    async def run() -> tuple[list[str], int]:
        tools = Tools()

        def refuse(tools: Tools, wait: bool) -> bool:
            if wait and tools.unsettled:
                tools.unsettled = False
                raise OSError("the disk is gone")
            return not tools.unsettled

        thread: KernelThread[Tools] = KernelThread(lambda: tools, refuse)
        await thread.open()
        held = asyncio.create_task(thread.run(Tools.hold))
        await asyncio.sleep(0)
        writes = [
            asyncio.create_task(thread.write(lambda tools: tools.keep("a"))) for _ in range(2)
        ]
        await asyncio.sleep(0)
        tools.gate.set()
        told = await asyncio.gather(*writes, return_exceptions=True)
        await held
        number = await thread.run(lambda _: 7)
        await thread.close(lambda _: None)
        return [str(error) for error in told], number

    assert (["the disk is gone"] * 2, 7) == asyncio.run(run())


def test_nobody_waits_for_a_thread_that_has_ended() -> None:
    """Who asks for something before the end has it done, and who asks afterwards is told."""

    async def ask() -> None:
        thread, tools = await opened()
        closing = asyncio.create_task(thread.close(lambda _: None))
        assert await asyncio.wait_for(thread.run(lambda given: given is tools), 5)
        await closing
        with pytest.raises(HostError, match="ending"):
            await asyncio.wait_for(thread.run(lambda _: None), 5)

    asyncio.run(ask())


def test_the_last_signal_of_a_thread_goes_to_its_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """However late it is: not to what else has got the number of its descriptor."""
    failures: list[OSError] = []
    signal = os.eventfd_write

    def late(descriptor: int, value: int) -> None:
        # So long that the loop has seen what the signal is for by the one before.
        time.sleep(0.02)
        try:
            signal(descriptor, value)
        except OSError as error:
            failures.append(error)

    monkeypatch.setattr(os, "eventfd_write", late)

    async def run() -> None:
        before = set(threading.enumerate())
        thread, _ = await opened()
        (started,) = set(threading.enumerate()) - before
        await asyncio.gather(thread.run(lambda _: None), thread.close(lambda _: None))
        await asyncio.to_thread(started.join)

    asyncio.run(run())
    assert [] == failures
