"""Partial updates of a network: libvirt's ``net-update`` (``virNetworkUpdate``), pure.

- ``request`` says what is asked for;
- ``network`` chooses by the section, and checks what comes of it;
- ``dhcp``, ``dns``, ``uplink`` and ``element`` update what is theirs.
"""
