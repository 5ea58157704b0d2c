"""jackfieldd with a clock around each of its stages: ``python -m bench.staged_daemon FILE …``.

Where cProfile slows everything down by its count of calls, this tells true times of what is
known to matter.  One operation runs at a time.  When the daemon ends in order, ``FILE`` gets
JSON: ``{operation: {stage: [seconds, …]}}``, a sum for each operation that was done; the other
arguments are the daemon's own.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from jackfield import daemon
from jackfield.host import drivers
from jackfield.operations import Operations

#: What is timed: the stage's name, the module, and the function or method in it.
STAGES = (
    ("plan", "jackfield.engine.plans", "Plans.plan"),
    ("check_host", "jackfield.engine.transitions", "check_host"),
    ("facts", "jackfield.host.mirror", "Mirror.facts"),
    (
        "hop to the kernel thread and back, with its job",
        "jackfield.host.thread",
        "KernelThread.run",
    ),
    ("job begin_start", "jackfield.engine.networkjobs", "begin_start"),
    ("job settle_network", "jackfield.engine.networkjobs", "settle_network"),
    ("job stop_network", "jackfield.engine.networkjobs", "stop_network"),
    ("job create_port", "jackfield.engine.ports.jobs", "create_port"),
    ("job delete_ports", "jackfield.engine.ports.jobs", "delete_ports"),
    ("refuse_foreign", "jackfield.host.applier", "Applier.refuse_foreign"),
    ("perform", "jackfield.host.applier", "Applier.perform"),
    ("verify", "jackfield.host.applier", "Applier._verify"),
    ("dismantle", "jackfield.host.applier", "Applier.dismantle"),
    ("ledger acquire", "jackfield.engine.store.ledger", "acquire"),
    ("ledger release", "jackfield.engine.store.ledger", "release"),
    ("commit", "jackfield.engine.store.tables", "Store.commit"),
    ("wait until dnsmasq serves", "jackfield.engine.services", "Services.wait_ready"),
    ("mirror", "jackfield.host.mirror", "Mirror.read"),
    ("answer", "jackfield.web.views", "network_json"),
)

totals: dict[str, list[dict[str, float]]] = defaultdict(list)
current: defaultdict[str, float] = defaultdict(float)


def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function`` with its time added to ``stage`` of the operation under way."""
    if asyncio.iscoroutinefunction(function):

        @functools.wraps(function)
        async def wait(*arguments: Any, **named: Any) -> Any:
            begin = time.perf_counter()
            try:
                return await function(*arguments, **named)
            finally:
                current[stage] += time.perf_counter() - begin

        return wait

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        begin = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            current[stage] += time.perf_counter() - begin

    return call


def operation(function: Callable[..., Awaitable[None]]) -> Any:
    """Return ``Operations._finish`` with a new set of sums for each operation."""

    @functools.wraps(function)
    async def finish(self: Operations, caller: Any, name: str, *arguments: Any) -> None:
        current.clear()
        begin = time.perf_counter()
        try:
            await function(self, caller, name, *arguments)
        finally:
            current["the operation, without HTTP"] = time.perf_counter() - begin
            totals[name].append(dict(current))

    return finish


def install() -> None:
    """Put the clocks in place."""
    for stage, module_name, path in STAGES:
        owner: Any = importlib.import_module(module_name)
        *classes, name = path.split(".")
        for part in classes:
            owner = getattr(owner, part)
        setattr(owner, name, timed(stage, getattr(owner, name)))
    make = drivers.make_drivers

    def make_timed(*arguments: Any) -> dict[str, Any]:
        found: dict[str, Any] = make(*arguments)
        for kind, driver in found.items():
            for verb in ("observe", "ensure", "remove"):
                setattr(driver, verb, timed(f"{verb} {kind}", getattr(driver, verb)))
        return found

    for module in list(sys.modules.values()):
        if getattr(module, "make_drivers", None) is make:
            module.make_drivers = make_timed  # type: ignore[attr-defined]
    Operations._finish = operation(Operations._finish)  # type: ignore[method-assign]


def main() -> int:
    """Run the daemon and write the sums."""
    install()
    try:
        return daemon.main(sys.argv[2:])
    finally:
        result: dict[str, dict[str, list[float]]] = {}
        for name, sums in totals.items():
            stages = sorted({stage for one in sums for stage in one})
            result[name] = {stage: [one.get(stage, 0.0) for one in sums] for stage in stages}
        Path(sys.argv[1]).write_text(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
