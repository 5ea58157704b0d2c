"""The DHCP and DNS service of networks: a dnsmasq for each that needs one.

- ``driver`` makes it so, on the kernel thread: files, then a process or a SIGHUP;
- ``files``, ``process``, ``quiet`` and ``diagnosis`` are what it is made of.

Waiting until one serves, and noticing that one has ended, are ``host.service``'s, as for every
helper process.
"""
