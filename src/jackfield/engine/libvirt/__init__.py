"""Networks taken over from libvirt, and given back."""
