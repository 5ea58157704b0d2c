"""The VDE switches of networks: a ``vde_switch`` on a tap of the network's bridge.

- ``driver`` starts and ends them, on the kernel thread;
- ``files`` are its folder and its socket directory, ``process`` knows when one serves;
- ``identity`` is whom it runs as, and how we work in a directory that is not ours.
"""
