"""jackfieldd that counts what it holds: ``counting_daemon.py REPORT ARGUMENTS…``.

On SIGUSR1 it writes to the file REPORT, as JSON, how many objects of each class of ours there are,
and how much is in their sets, lists and mappings.
"""

from __future__ import annotations

import asyncio
import collections
import gc
import json
import signal
import sys
from pathlib import Path


def count(report: Path) -> None:
    """Write how many objects of each class of ours are reachable, and how much they hold."""
    gc.collect()
    counts: collections.Counter[str] = collections.Counter()
    for held in gc.get_objects():
        kind = f"{type(held).__module__}.{type(held).__qualname__}"
        if kind.startswith("jackfield."):
            counts[kind] += 1
            for name, value in getattr(held, "__dict__", {}).items():
                if isinstance(value, dict | set | list | collections.deque):
                    counts[f"{kind}.{name}"] += len(value)
    new = report.with_suffix(".new")
    new.write_text(json.dumps(counts))
    new.rename(report)


def main() -> None:
    """Take the report's path off the command line and be jackfieldd."""
    report = Path(sys.argv[1])
    sys.argv = ["jackfieldd", *sys.argv[2:]]
    # The script's own folder must not be where the daemon's imports come from.
    sys.path.pop(0)
    from jackfield import config, daemon

    serve = daemon.run

    async def run(settings: config.Config) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, count, report)
        await serve(settings)

    daemon.run = run
    # What is frozen would not be counted.
    gc.freeze = lambda: None
    sys.exit(daemon.main())


if __name__ == "__main__":
    main()
