"""Definitions: what waits for the disk holds up nobody else."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jackfield.document.reader import read_network
from jackfield.engine.definitions import Definitions
from jackfield.engine.events import EventLog
from jackfield.engine.plans import Plans
from jackfield.engine.registry import Registry
from jackfield.engine.store.tables import Store
from jackfield.engine.workplace import Workplace
from jackfield.errors import HostError, NetworkNotFound
from jackfield.host.thread import KernelThread

NAT = """
<network>
  <name>{}</name>
  <forward mode='nat'/>
  <ip address='10.9.{}.1' prefix='24'/>
</network>
"""


class SlowDisk:
    """Stands for the kernel thread: every job waits until it is told how it ended."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[object]] = []

    async def write(self, _job: object) -> object:
        self.waiting.append(asyncio.get_running_loop().create_future())
        return await self.waiting[-1]


def definitions(disk: SlowDisk) -> tuple[Registry, Definitions]:
    """Return definitions that are written to ``disk``, on a host without links."""
    registry = Registry()
    host = SimpleNamespace(links=dict)
    made = Definitions(
        registry,
        Plans(None, None, {}),
        EventLog(),
        cast("Any", disk),
        cast("Any", host),
    )
    return registry, made


async def begin(made: Definitions, *numbers: int) -> list[asyncio.Task[Any]]:
    """Begin to define networks, and let each come as far as it gets."""
    tasks = [
        asyncio.create_task(made.define(read_network(NAT.format(f"net-{number}", number))))
        for number in numbers
    ]
    for _ in range(10):
        await asyncio.sleep(0)
    return tasks


def test_several_wait_for_the_disk_together() -> None:
    """A second definition is handed over while the first is being written, with its own bridge."""

    async def run() -> None:
        disk = SlowDisk()
        registry, made = definitions(disk)
        tasks = await begin(made, 1, 2, 3)
        assert 3 == len(disk.waiting)
        for future in disk.waiting:
            future.set_result(SimpleNamespace(number=1))
        views = await asyncio.gather(*tasks)
        assert {"virbr0", "virbr1", "virbr2"} == {view.current.bridge.name for view in views}
        assert 3 == len(registry.networks)

    asyncio.run(run())


def test_what_could_not_be_written_is_not_there() -> None:
    """A definition that the disk did not take leaves its name to the next one."""

    async def run() -> None:
        disk = SlowDisk()
        registry, made = definitions(disk)
        (task,) = await begin(made, 1)
        disk.waiting[0].set_exception(HostError("no space left"))
        (next_,) = await begin(made, 1)
        # What may be there of the first one is removed, and the second one does not wait for that.
        assert 3 == len(disk.waiting)
        disk.waiting[2].set_result(SimpleNamespace(number=1))
        assert "virbr0" == (await next_).current.bridge.name
        disk.waiting[1].set_result(None)
        with pytest.raises(HostError, match="no space left"):
            await task
        assert 1 == len(registry.networks)

    asyncio.run(run())


def test_no_two_are_kept_under_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the disk has refused a definition that was in the database already."""

    def refuse(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def run() -> None:
        tools = cast("Any", SimpleNamespace(store=Store(tmp_path / "jackfield.db")))
        thread: KernelThread[Any] = KernelThread(lambda: tools, Workplace.settle)
        await thread.open()
        _, made = definitions(cast("Any", thread))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", refuse)
            with pytest.raises(HostError, match="Input/output error"):
                await made.define(read_network(NAT.format("red", 1)))
        view = await made.define(read_network(NAT.format("red", 1)))
        assert [view.uuid] == [row.uuid for row in tools.store.networks()]
        await thread.close(lambda tools: tools.store.close())

    asyncio.run(run())


def test_who_waits_for_a_network_that_goes_is_told() -> None:
    """What comes after an undefine finds no network, and the next of its name is another one."""

    async def run() -> None:
        disk = SlowDisk()
        registry, made = definitions(disk)
        (task,) = await begin(made, 1)
        disk.waiting[0].set_result(SimpleNamespace(number=1))
        uuid = (await task).uuid
        ending = asyncio.create_task(made.undefine(str(uuid)))
        late = asyncio.create_task(made.set_autostart(str(uuid), True))
        (again,) = await begin(made, 1)
        assert 2 == len(disk.waiting)
        disk.waiting[1].set_result(SimpleNamespace(number=2))
        await ending
        with pytest.raises(NetworkNotFound):
            await late
        await begin(made)
        disk.waiting[2].set_result(SimpleNamespace(number=3))
        view = await again
        assert not view.autostart
        assert [view.uuid] == list(registry.networks)

    asyncio.run(run())
