"""The life of networks and ports."""
