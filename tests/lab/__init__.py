"""Hosts, switches and guests out of namespaces, to watch the daemon from outside."""
