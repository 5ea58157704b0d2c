"""What is put right when somebody else changes what is ours, or something dies."""
