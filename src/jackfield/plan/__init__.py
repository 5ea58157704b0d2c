"""What a network or port needs of the host: pure functions."""
