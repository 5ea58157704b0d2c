"""The life of ports: ours and those of clients, their devices, settings, guards and records."""
