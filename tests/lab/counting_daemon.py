"""jackfieldd that counts what it holds: ``counting_daemon.py REPORT ARGUMENTS…``.

On SIGUSR1 it writes to the file REPORT, as JSON, how many objects of each class of ours there are.
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
    """Write how many objects of each class of ours are reachable."""
    gc.collect()
    kinds = (type(held) for held in gc.get_objects())
    counts = collections.Counter(
        f"{kind.__module__}.{kind.__qualname__}"
        for kind in kinds
        if str(kind.__module__).startswith("jackfield.")
    )
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
