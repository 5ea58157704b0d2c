"""Who gets which port: pure functions."""
