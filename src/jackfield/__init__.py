"""Networks for virtual machines: the guest names a network, the host decides what it is."""

__version__ = "0.1.0"
