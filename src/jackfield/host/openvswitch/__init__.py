"""Open vSwitch, spoken to in its own language: rows of its database, over its UNIX socket."""
