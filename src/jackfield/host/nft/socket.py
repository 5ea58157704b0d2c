"""The nftables socket: whole batches, single answers, and the ruleset's generation."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from jackfield.host.netlink.message import NLM_F_ACK, Message, Reply, attributes
from jackfield.host.netlink.socket import NETLINK_NETFILTER, NetlinkSocket, Refusal
from jackfield.host.nft.message import batch_begin, batch_end, get_generation

__all__ = ["GenerationChanged", "NftSocket"]

_GENERIC_HEADER = 4
_GEN_ID = 1


class GenerationChanged(Exception):
    """Somebody changed the host's rules since the generation that a batch was made for."""


class NftSocket(NetlinkSocket):
    """A netlink socket to nftables, in the network namespace of the thread that opens it."""

    def __init__(self) -> None:
        """Open and bind the socket."""
        super().__init__(NETLINK_NETFILTER)

    def commit(self, messages: Sequence[Message], generation: int | None = None) -> None:
        """Make all of ``messages`` so, or none.

        Raises ``Refusal`` for the first message at fault, its ``index`` the place in
        ``messages``; ``GenerationChanged`` when ``generation`` is given and is no longer the
        ruleset's.
        """
        if not messages:
            return
        first = messages[0].what
        last = messages[-1]
        batch = [
            batch_begin(first, generation),
            *messages[:-1],
            last._replace(flags=last.flags | NLM_F_ACK),
            batch_end(last.what),
        ]
        refusals = self.batch(batch, atomic=True)
        if not refusals:
            return
        error = min(refusals, key=lambda refusal: refusal.index)
        if error.index == 0:
            # The kernel answers the opening message for what concerns the batch as a whole.
            if error.errno == errno.ERESTART:
                raise GenerationChanged
            error.message = f"the rules as a whole were refused: {error.message}"
            error.args = (error.message,)
        error.index = max(error.index - 1, 0)
        raise error

    def get(self, message: Message) -> dict[int, bytes] | None:
        """Return the attributes of the one object asked for, or ``None`` if there is none."""
        try:
            replies = self.request(message)
        except Refusal as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return object_attributes(replies[0]) if replies else None

    def generation(self) -> int:
        """Return the number of the ruleset's generation; every change by anybody adds one."""
        found = self.get(get_generation())
        assert found is not None
        return int.from_bytes(found[_GEN_ID], "big")


def object_attributes(reply: Reply) -> dict[int, bytes]:
    """Return the attributes of an object that the kernel sent."""
    return attributes(reply.body, _GENERIC_HEADER)
