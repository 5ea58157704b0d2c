"""The DHCP and DNS service of networks: a dnsmasq for each that needs one.

- ``driver`` makes it so, on the kernel thread: files, then a process or a SIGHUP;
- ``readiness`` waits, on the event loop, until a process has bound its sockets;
- ``supervisor`` tells, on the event loop, when one has ended;
- ``files``, ``process`` and ``diagnosis`` are what these are made of.
"""
