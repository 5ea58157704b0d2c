"""The netlink room: messages as bytes, sockets, and the verbs of rtnetlink."""
