"""One netlink socket: send messages, read what the kernel answers, dump, listen.

Synchronous and for one thread; the kernel does its work inside ``send``.  Every refusal becomes
a ``KernelError`` that says what was asked, the errno, and the kernel's own words.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from jackfield.errors import KernelError
from jackfield.host.netlink.message import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    Reply,
    acknowledgement,
    encode,
    errno_text,
    split,
)

__all__ = [
    "NETLINK_GENERIC",
    "NETLINK_NETFILTER",
    "NETLINK_ROUTE",
    "MessagesLost",
    "NetlinkSocket",
    "Refusal",
]

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12
NETLINK_GENERIC = 16

# As plain numbers: arithmetic of the enumeration costs a microsecond each time.
_MSG_TRUNC = int(socket.MSG_TRUNC)
_MSG_DONTWAIT = int(socket.MSG_DONTWAIT)
_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33

# An acknowledgement costs the receive buffer about 800 bytes: this holds those of a batch of
# some thousand messages, all of which are queued before the first can be read.
_RECEIVE_BUFFER = 4 << 20
_SEND_BUFFER = 1 << 20
# A datagram of a dump is at most 32 KiB (netlink_dump in af_netlink.c); one notification or
# echo can be larger only by its own attributes.
_DATAGRAM = 256 << 10
_DUMP_ATTEMPTS = 8


class MessagesLost(Exception):
    """The receive buffer overflowed: notifications were lost, and the listener must resync."""


class Refusal(KernelError):
    """The kernel refused one message; ``index`` is its place in the batch."""

    index: int = 0


def _refusal(message: Message, number: int, words: str, index: int = 0) -> Refusal:
    """Return the error for ``message``, refused with errno ``number`` and the kernel's words."""
    said = f": {words}" if words else ""
    error = Refusal(f"cannot {message.what}: {errno_text(number)}{said}", errno=number)
    error.index = index
    return error


class NetlinkSocket:
    """A netlink socket of one protocol, in the network namespace of the thread that opens it."""

    def __init__(
        self, protocol: int, *, receive_buffer: int = _RECEIVE_BUFFER, strict: bool = True
    ) -> None:
        """Open and bind the socket.

        ``receive_buffer`` is in bytes (the kernel doubles it).  ``strict`` asks the kernel to
        check dump requests and to honour their filters (Linux 4.20), where it is offered.
        """
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )
        self._sequence = 0
        self._buffer = bytearray(_DATAGRAM)
        try:
            for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK) + (
                _NETLINK_GET_STRICT_CHK,
            ) * strict:
                try:
                    self._socket.setsockopt(_SOL_NETLINK, option, 1)
                except OSError as error:
                    if error.errno != errno.ENOPROTOOPT:
                        raise
            self._set_buffer(_SO_RCVBUFFORCE, socket.SO_RCVBUF, receive_buffer)
            self._send_limit = self._set_buffer(_SO_SNDBUFFORCE, socket.SO_SNDBUF, _SEND_BUFFER)
            self._socket.bind((0, 0))
            self.portid: int = self._socket.getsockname()[0]
        except BaseException:
            self._socket.close()
            raise

    def _set_buffer(self, forced: int, plain: int, size: int) -> int:
        """Set a buffer's size, beyond the system's limit where we may; return what it is."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, forced, size)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, plain, size)
        return self._socket.getsockopt(socket.SOL_SOCKET, plain)

    def __enter__(self) -> Self:
        """Return the socket."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the socket."""
        self.close()

    def fileno(self) -> int:
        """Return the descriptor, for ``add_reader``."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket; doing it again changes nothing."""
        self._socket.close()

    def request(self, message: Message, *, what: str = "") -> list[Reply]:
        """Send one message, wait for its acknowledgement, and return what came before it.

        ``what`` replaces the message's own words.  Raises ``Refusal`` (a ``KernelError``).
        """
        if what:
            message = message._replace(what=what)
        first = self._send([message._replace(flags=message.flags | NLM_F_ACK)])
        replies: list[Reply] = []
        while True:
            for kind, flags, sequence, body in self._receive(message.what):
                if sequence != first:
                    continue
                if kind != NLMSG_ERROR:
                    replies.append(Reply(kind, flags, body))
                    continue
                number, words = acknowledgement(kind, flags, body)
                if number:
                    raise _refusal(message, number, words)
                return replies

    def batch(self, messages: Sequence[Message], *, atomic: bool = False) -> list[Refusal]:
        """Send all messages in one ``sendmsg``; return the refusals, in order.

        Reads until every message flagged ``NLM_F_ACK`` is answered.  The kernel answers a message
        without the flag only when it refuses it, so the last message that must be waited for
        needs the flag (rtnetlink goes on after a refusal and answers in order: the last alone is
        enough).  With ``atomic`` (nfnetlink) an error that answers the first message means that
        the whole batch was thrown away, and ends the reading.
        """
        if not messages:
            return []
        first = self._send(messages)
        awaited = {index for index, item in enumerate(messages) if item.flags & NLM_F_ACK}
        refusals: list[Refusal] = []
        while awaited:
            for kind, flags, sequence, body in self._receive(messages[0].what):
                index = sequence - first & 0xFFFFFFFF
                if kind != NLMSG_ERROR or index >= len(messages):
                    continue
                number, words = acknowledgement(kind, flags, body)
                if number:
                    refusals.append(_refusal(messages[index], number, words, index))
                    if atomic and index == 0:
                        awaited.clear()
                awaited.discard(index)
        return refusals

    def dump(self, message: Message) -> list[Reply]:
        """Return every object that a dump request gives.

        A dump that the kernel flags as interrupted by a change (``NLM_F_DUMP_INTR``) may lack or
        repeat objects and is asked for again, a few times; then ``KernelError`` with ``EINTR``.
        """
        message = message._replace(flags=message.flags | NLM_F_DUMP)
        for _ in range(_DUMP_ATTEMPTS):
            replies = self._dump_once(message)
            if replies is not None:
                return replies
        raise KernelError(
            f"cannot {message.what}: interrupted by changes {_DUMP_ATTEMPTS} times",
            errno=errno.EINTR,
            hint="something changes the host's network without pause; try again later",
        )

    def _dump_once(self, message: Message) -> list[Reply] | None:
        """Return one dump's objects, or ``None`` when it was interrupted."""
        wanted = self._send([message])
        replies: list[Reply] = []
        interrupted = False
        while True:
            for kind, flags, sequence, body in self._receive(message.what):
                if sequence != wanted:
                    continue
                if flags & NLM_F_DUMP_INTR:
                    interrupted = True
                if kind in (NLMSG_DONE, NLMSG_ERROR):
                    number, words = acknowledgement(kind, flags, body)
                    if number:
                        raise _refusal(message, number, words)
                    return None if interrupted else replies
                replies.append(Reply(kind, flags, body))

    def subscribe(self, *groups: int) -> None:
        """Join multicast groups (``RTNLGRP_*``, ``NFNLGRP_*``); for a socket that only listens."""
        for group in groups:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)

    def poll(self) -> list[Reply]:
        """Return the messages of one waiting datagram, or none; never waits.

        Raises ``MessagesLost`` after an overflow of the receive buffer.
        """
        try:
            data = self._receive_datagram(_MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise MessagesLost from error
            raise
        return [Reply(kind, flags, data[start:end]) for kind, flags, _, start, end in split(data)]

    def _send(self, messages: Sequence[Message]) -> int:
        """Send the messages in one datagram; return the sequence number of the first."""
        first = self._sequence + 1 & 0xFFFFFFFF
        data = b"".join(
            [encode(item, first + index & 0xFFFFFFFF) for index, item in enumerate(messages)]
        )
        self._sequence = first + len(messages) - 1 & 0xFFFFFFFF
        try:
            if len(data) + 1024 > self._send_limit:
                self._send_limit = self._set_buffer(
                    _SO_SNDBUFFORCE, socket.SO_SNDBUF, len(data) + 1024
                )
            self._transmit(data)
        except OSError as error:
            number = error.errno or errno.EIO
            raise KernelError(
                f"cannot {messages[0].what}: {errno_text(number)} while sending", errno=number
            ) from error
        return first

    def _transmit(self, data: bytes) -> None:
        self._socket.send(data)

    def _receive(self, what: str) -> list[tuple[int, int, int, bytes]]:
        """Wait for one datagram; return (type, flags, sequence, body) of its messages."""
        try:
            data = self._receive_datagram(0)
        except OSError as error:
            number = error.errno or errno.EIO
            raise KernelError(
                f"cannot {what}: the kernel's answer was lost: {errno_text(number)}", errno=number
            ) from error
        return [
            (kind, flags, sequence, data[start:end])
            for kind, flags, sequence, start, end in split(data)
        ]

    def _receive_datagram(self, flags: int) -> bytes:
        """Return one datagram from the kernel; what other processes send us is dropped."""
        while True:
            size, _, outcome, sender = self._socket.recvmsg_into([self._buffer], 0, flags)
            if outcome & _MSG_TRUNC:
                raise OSError(errno.EMSGSIZE, "a netlink datagram is larger than our buffer")
            if sender[0] == 0:
                return bytes(memoryview(self._buffer)[:size])
