"""jackfieldd that counts its instructions: ``python -m bench.counted_daemon FILE …``.

An instruction is one of Python's interpreter.  Their number does not depend on what else the
machine does, which times do.  At each SIGUSR1 ``FILE`` gets a line of JSON, how many there have
been by file; the other arguments are the daemon's own.
"""

from __future__ import annotations

import collections
import json
import signal
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from jackfield import attentive, daemon

counts: collections.Counter[CodeType] = collections.Counter()


def trace(frame: FrameType, _event: str, _argument: object) -> Any:
    """Have each instruction of a function that begins be counted, but for those of this file."""
    if frame.f_code.co_filename == __file__:
        return None
    frame.f_trace_opcodes, frame.f_trace_lines = True, False
    return count


def count(frame: FrameType, event: str, _argument: object) -> Any:
    """Count an instruction."""
    if event == "opcode":
        counts[frame.f_code] += 1
    return count


def main() -> int:
    """Run the daemon, and tell when asked."""
    output = Path(sys.argv[1])

    def tell(*_: object) -> None:
        # Not what it takes to tell.
        sys.settrace(None)
        by_file: collections.Counter[str] = collections.Counter()
        for code, number in counts.copy().items():
            by_file[code.co_filename] += number
        with output.open("a") as file:
            file.write(json.dumps(by_file) + "\n")
        sys.settrace(trace)

    # How often it looks for what is next depends on time.
    attentive.LOOK = 0
    signal.signal(signal.SIGUSR1, tell)
    threading.settrace(trace)
    sys.settrace(trace)
    return daemon.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
