"""A guided tour in a private lab: ``scripts/demo``."""
