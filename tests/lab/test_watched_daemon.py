"""The watch on the event loop: it reports what holds the loop, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.lab.wait import wait_for

ROOT = Path(__file__).parents[2]
PROLOGUE = """
import asyncio, sys, time
from pathlib import Path
from tests.lab.watched_daemon import Watch
Watch(Path(sys.argv[1])).install()
def spin(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
"""


def report_of(code: str, tmp_path: Path) -> list[dict[str, Any]]:
    """Run code under the watch and return what it reported."""
    report = tmp_path / "report"
    subprocess.run([sys.executable, "-c", PROLOGUE + code, report], cwd=ROOT, check=True)
    return [json.loads(line) for line in report.read_text().splitlines()]


def test_a_blocking_task_is_named(tmp_path: Path) -> None:
    """A sleep or a computation in a task is reported with the task and the line at fault."""
    code = """
async def patient():
    time.sleep(0.2)
    await asyncio.sleep(0)
async def busy():
    spin(0.2)
async def main():
    await asyncio.create_task(patient(), name='the-patient')
    await asyncio.create_task(busy(), name='the-busy')
asyncio.run(main())
"""

    def both() -> list[dict[str, Any]] | None:
        # On a very busy machine all of a computation may count as waiting for a CPU.
        found = report_of(code, tmp_path)
        return found if len(found) == 2 else None

    sleeping, spinning = wait_for(both, 60, "both to be reported")
    assert "the-patient" in sleeping["callback"]
    # On a busy machine some of it counts as waiting for a CPU.
    assert 200 <= sleeping["milliseconds"] + sleeping["waited_for_cpu"]
    assert "the-busy" in spinning["callback"]
    assert "in spin" in "".join(spinning["stack"])


def test_waiting_is_no_blocking(tmp_path: Path) -> None:
    """A loop that waits, has a busy helper thread or works in small steps is not reported."""
    assert [] == report_of(
        """
async def main():
    await asyncio.sleep(0.2)
    await asyncio.to_thread(time.sleep, 0.2)
    for _ in range(20):
        spin(0.01)
        await asyncio.sleep(0)
asyncio.run(main())
""",
        tmp_path,
    )


def test_a_busy_machine_is_no_blocking(tmp_path: Path) -> None:
    """Work of 20 ms is not reported although five others on the same CPU make it take longer."""
    one = {min(os.sched_getaffinity(0))}
    hogs = [
        subprocess.Popen(
            [sys.executable, "-c", "while True: pass"],
            preexec_fn=lambda: os.sched_setaffinity(0, one),
        )
        for _ in range(5)
    ]
    try:
        assert [] == report_of(
            f"""
import os; os.sched_setaffinity(0, {one})
async def main():
    slowest = 0
    for _ in range(20):
        begun = time.monotonic()
        spin(0.02)
        slowest = max(slowest, time.monotonic() - begun)
        await asyncio.sleep(0)
    assert slowest > 0.05, slowest
asyncio.run(main())
""",
            tmp_path,
        )
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
