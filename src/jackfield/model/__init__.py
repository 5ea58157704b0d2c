"""What is declared: frozen values without input or output."""
