"""Host state on this machine: one room per kind of thing."""
