"""The libvirt door: libvirt's RPC protocol on UNIX sockets."""
