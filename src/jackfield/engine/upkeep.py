"""What of ports is mended with their network, one thing after the other."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from jackfield.engine.records import Upkeep
from jackfield.engine.workplace import Workplace
from jackfield.errors import JackfieldError
from jackfield.plan.describe import describe_resource
from jackfield.state.hoststate import Change

__all__ = ["mend_each"]

log = logging.getLogger(__name__)


def mend_each(tools: Workplace, wanted: Sequence[Upkeep]) -> tuple[Change, list[str]]:
    """Make these things so; return what that took, and what could not be done and why.

    What one needs whose device vanished meanwhile is left to be seen.
    """
    change = Change()
    failures = []
    for item in wanted:
        try:
            mended, foreign = tools.applier.mend([item])
        except (JackfieldError, ExceptionGroup) as error:
            failure = str(error)
        else:
            change += mended
            failure = f"in the way, and not ours: {', '.join(foreign)}" if foreign else ""
        if failure:
            text = f"{describe_resource(item)}: {failure}"
            log.warning("cannot mend: %s", text)
            if tools.kernel.route.index(item.link) is not None:
                failures.append(text)
    return change, failures
