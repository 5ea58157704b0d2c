"""Real guests: Linux under QEMU, from Debian's packages in a cache folder."""
