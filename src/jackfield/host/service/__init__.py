"""Helper processes that serve networks: started, known again, watched, ended.

- ``process`` is one of them, known by more than its pid;
- ``files`` is the folder that each has;
- ``driver`` is what the drivers of their resources have in common, on the kernel thread;
- ``readiness`` waits, on the event loop, until one serves;
- ``supervisor`` tells, on the event loop, when one has ended.

What is said of each kind of them is in a room of its own (``dnsmasq``, ``vde``).
"""
