"""Tells when somebody else touches our tables: a flush of all rules, a rule deleted by hand."""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Callable, Iterable

from jackfield.errors import counted
from jackfield.host.netlink.message import Reply, attributes, text
from jackfield.host.netlink.socket import NETLINK_NETFILTER, MessagesLost, NetlinkSocket
from jackfield.host.nft.tables import TABLES

__all__ = ["NftMonitor"]

_NFNLGRP_NFTABLES = 7
_SUBSYSTEM = 10
_GENERIC_HEADER = 4
_OBJECT_TABLE = 1
_NEWGEN = 15
_GEN_PROC_PID = 2
_GEN_PROC_NAME = 3

# What a notification is about: its words, and the attribute with the name of what was touched.
_EVENTS = {
    0: ("the table was added or changed", None),
    2: ("the table was deleted", None),
    3: ("chain {} was added or changed", 3),
    5: ("chain {} was deleted", 3),
    6: ("a rule was added to chain {}", 2),
    8: ("a rule was deleted from chain {}", 2),
    9: ("set {} was added", 2),
    11: ("set {} was deleted", 2),
    12: ("an element was added to set {}", 2),
    14: ("an element was deleted from set {}", 2),
}
_DELTABLE = 2

# A flood of foreign changes must not hold the loop: what is left is read in its next round.
_DATAGRAMS_A_ROUND = 64

_SO_ATTACH_FILTER = 26
# Classic BPF (linux/filter.h): load a word, skip unless equal, return.
_BPF_LOAD_WORD = 0x20
_BPF_JUMP_EQUAL = 0x15
_BPF_RETURN = 0x06
_PORTID_OFFSET = 12
_WHOLE = 0xFFFFFFFF


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jump_true", ctypes.c_uint8),
        ("jump_false", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


class NftMonitor(NetlinkSocket):
    """A listener on the rules of the calling thread's network namespace.

    Give ``fileno()`` and ``read`` to the loop's ``add_reader``.  ``changed`` is called once for
    each foreign change of a table of ours, with a clause that says what was done and by whom
    (``table inet jackfield: the table was deleted by nft (pid 4711)``); lost notifications count
    as a change.
    """

    def __init__(self, changed: Callable[[str], None], *, own_portids: Iterable[int]) -> None:
        """Listen; changes by the sockets with ``own_portids`` are not even delivered to us."""
        super().__init__(NETLINK_NETFILTER)
        self._changed = changed
        self._touched: list[str] = []
        try:
            self._ignore(own_portids)
            self.subscribe(_NFNLGRP_NFTABLES)
        except BaseException:
            self.close()
            raise

    def read(self) -> None:
        """Read what is waiting; never waits."""
        for _ in range(_DATAGRAMS_A_ROUND):
            try:
                replies = self.poll()
            except MessagesLost:
                self._touched.clear()
                self._changed("notifications of changes were lost")
                continue
            if not replies:
                return
            for reply in replies:
                self._take(reply)

    def _take(self, reply: Reply) -> None:
        if reply.type >> 8 != _SUBSYSTEM:
            return
        event = reply.type & 0xFF
        if event == _NEWGEN:
            self._tell(attributes(reply.body, _GENERIC_HEADER))
        elif event in _EVENTS:
            found = attributes(reply.body, _GENERIC_HEADER)
            table = TABLES.get((reply.body[0], text(found.get(_OBJECT_TABLE, b""))))
            if table is None:
                return
            words, name = _EVENTS[event]
            told = words if name is None else words.format(text(found.get(name, b"")))
            touched = f"{table}: {told}"
            # A deleted table goes with all it held, which is told before it.
            if event == _DELTABLE:
                self._touched = [one for one in self._touched if not one.startswith(f"{table}:")]
                self._touched.append(touched)
            elif touched not in self._touched:
                self._touched.append(touched)

    def _tell(self, generation: dict[int, bytes]) -> None:
        """Report what one commit touched, when the kernel has told its end."""
        if not self._touched:
            return
        first, *others = self._touched
        self._touched = []
        more = f" and {counted(len(others), 'more change')}" if others else ""
        name = text(generation.get(_GEN_PROC_NAME, b""))
        pid = int.from_bytes(generation.get(_GEN_PROC_PID, b""), "big")
        who = f" by {name} (pid {pid})" if name else ""
        self._changed(f"{first}{more}{who}")

    def _ignore(self, portids: Iterable[int]) -> None:
        """Have the kernel drop what these sockets cause: all of a datagram has one cause."""
        instructions = [_Instruction(_BPF_LOAD_WORD, 0, 0, _PORTID_OFFSET)]
        for portid in portids:
            # The filter reads the word in network order; the kernel writes it in host order.
            instructions += [
                _Instruction(_BPF_JUMP_EQUAL, 0, 1, socket.htonl(portid)),
                _Instruction(_BPF_RETURN, 0, 0, 0),
            ]
        instructions.append(_Instruction(_BPF_RETURN, 0, 0, _WHOLE))
        array = (_Instruction * len(instructions))(*instructions)
        program = _Program(len(array), array)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(program))
