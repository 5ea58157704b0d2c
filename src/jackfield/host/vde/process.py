"""vde_switch processes: when one serves."""

from __future__ import annotations

import dataclasses

from jackfield.errors import ServiceError
from jackfield.host.service.process import Process

__all__ = ["QUESTION", "SwitchProcess"]

QUESTION = b"port/allprint\n"
"""What a switch is asked on its console before it starts: it answers once it serves."""

_ANSWERED = "1000 Success"
_TAP = "module tuntap"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SwitchProcess(Process):
    """A vde_switch of ours.

    It opens its socket, then its tap, and looks at its console when both is done.  Without its
    tap it goes on all the same, so the answer has to name it.
    """

    program = "vde_switch"
    sign = "console"
    aftermath = ("Could not remove", "Couldn't remove", "Cleanup not removing")

    def is_ready(self) -> bool:
        """Whether it has answered; ``ServiceError`` when it did so without its tap."""
        try:
            said = (self.directory / self.sign).read_text(errors="replace")
        except OSError:
            return False
        if _ANSWERED not in said:
            return False
        if _TAP not in said:
            raise ServiceError(
                f"vde_switch could not open its tap: {self.last_words() or 'it said nothing'}"
            )
        return True

    def settle(self) -> None:
        """Do nothing: it knows of no other network."""
