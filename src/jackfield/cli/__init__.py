"""The command line ``jackfield``: what people type, and what they are told."""
