"""DHCP leases: the files read and watched, all networks' leases, and when one is over."""
