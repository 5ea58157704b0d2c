"""The nftables socket: whole batches, single answers, and the ruleset's generation.

Every change of rules by anybody adds one to the generation, and a batch may name the one that it
was made for.  Our own batches follow one another without anybody else's in between most of the
time, and the socket remembers for how long that was so: who looked at its table before needs not
look again because another table of ours has changed.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

from jackfield.host.modules import missing_module_hint
from jackfield.host.netlink.message import NLM_F_ACK, Message, Reply, attributes
from jackfield.host.netlink.socket import NETLINK_NETFILTER, NetlinkSocket, Refusal
from jackfield.host.nft.message import batch_begin, batch_end, get_generation

__all__ = ["GenerationChanged", "NftSocket", "after"]

_GENERIC_HEADER = 4
_GEN_ID = 1
_MAX = 0xFFFFFFFF
_ATTEMPTS = 3


class GenerationChanged(Exception):
    """Somebody changed the host's rules since the generation that a batch was made for."""


class NftSocket(NetlinkSocket):
    """A netlink socket to nftables, in the network namespace of the thread that opens it."""

    def __init__(self) -> None:
        """Open and bind the socket."""
        super().__init__(NETLINK_NETFILTER)
        # The generations between which nobody but us has changed rules.
        self._first: int | None = None
        self._last: int | None = None

    def commit(self, messages: Sequence[Message], generation: int | None = None) -> None:
        """Make all of ``messages`` so, or none.

        Raises ``Refusal`` for the first message at fault, its ``index`` the place in
        ``messages``; ``GenerationChanged`` when ``generation`` is given and is no longer the
        ruleset's.
        """
        if not messages:
            return
        if generation is not None:
            self._commit(messages, generation)
            return
        # Whatever it is now; but named, which tells whether somebody else was here meanwhile.
        for _ in range(_ATTEMPTS):
            try:
                self._commit(messages, self._now())
            except GenerationChanged:
                continue
            return
        self._commit(messages, None)

    def led_to(self, generation: int) -> int:
        """Return the generation that our own batches have led to since ``generation``.

        If somebody else has changed rules as well, it is not the ruleset's any more.
        """
        if self._first is None or self._last is None:
            return generation
        ours = (self._last - self._first) & _MAX >= (generation - self._first) & _MAX
        return self._last if ours else generation

    def _now(self) -> int | None:
        """Return today's generation; whoever may not know it learns why from the batch itself."""
        if self._last is not None:
            return self._last
        try:
            return self.generation()
        except Refusal:
            return None

    def _commit(self, messages: Sequence[Message], generation: int | None) -> None:
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
            if generation is None:
                self._first = self._last = None
                return
            if generation != self._last:
                self._first = generation
            self._last = after(generation)
            return
        error = min(refusals, key=lambda refusal: refusal.index)
        if error.index == 0:
            # The kernel answers the opening message for what concerns the batch as a whole.
            if error.errno == errno.ERESTART:
                if generation == self._last:
                    self._first = self._last = None
                raise GenerationChanged
            why = "the rules as a whole were refused"
            if error.errno == errno.EOPNOTSUPP:
                why = "the kernel has no nf_tables"
                error.hint = missing_module_hint("CONFIG_NF_TABLES")
            error.message = f"{why}: {error.message}"
            error.args = (error.message,)
        error.index = max(error.index - 1, 0)
        raise error

    def get(self, message: Message) -> dict[int, bytes] | None:
        """Return the attributes of the one object asked for, or ``None`` if there is none.

        Nor is there any where the kernel has no nf_tables, and so nobody whom to ask (``EINVAL``).
        """
        try:
            replies = self.request(message)
        except Refusal as error:
            if error.errno in (errno.ENOENT, errno.EINVAL):
                return None
            raise
        return object_attributes(replies[0]) if replies else None

    def generation(self) -> int:
        """Return the number of the ruleset's generation; every change by anybody adds one.

        It is 0 where the kernel has no nf_tables.
        """
        found = self.get(get_generation())
        if found is None:
            return 0
        return int.from_bytes(found[_GEN_ID], "big")


def after(generation: int) -> int:
    """Return the generation that one commit leads to; 0 is skipped (nf_tables_commit)."""
    return generation + 1 & _MAX or 1


def object_attributes(reply: Reply) -> dict[int, bytes]:
    """Return the attributes of an object that the kernel sent."""
    return attributes(reply.body, _GENERIC_HEADER)
