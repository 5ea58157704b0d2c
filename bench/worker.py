"""A process on a lab host that does timed work when asked, over a pipe of JSON lines.

The clock is read in the process that does the work, so the pipe costs nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from tests.lab.host import Host

__all__ = ["Worker", "serve"]


def serve(operations: Mapping[str, Callable[..., object]]) -> None:
    """Answer the lines of standard input until it ends: the worker's side.

    A line is ``[operation, arguments]``; the answer ``{"value": …}`` or ``{"error": "…"}``.
    """
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            answer: dict[str, object] = {"value": operations[name](**arguments)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


class Worker:
    """The benchmark's side; ``argv`` is run on ``host`` and ends with it."""

    def __init__(self, host: Host, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Start the process."""
        self._process = host.start(
            argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ).popen

    def call(self, operation: str, **arguments: object) -> Any:
        """Return what the worker's operation returns; its failure is a ``RuntimeError``."""
        self.begin(operation, **arguments)
        return self.finish()

    def begin(self, operation: str, **arguments: object) -> None:
        """Have the worker begin an operation, whose end ``finish`` waits for."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([operation, arguments]) + "\n")
        self._process.stdin.flush()

    def finish(self) -> Any:
        """Return what the operation that was begun returns."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker {self._process.args!r} has ended")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]
