"""What all who use a shared state must have in common: its state key, and the project's id."""
