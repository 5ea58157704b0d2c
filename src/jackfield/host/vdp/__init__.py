"""Ports made known to an external switch: VDP (IEEE 802.1Qbg), which lldpad speaks for us."""
