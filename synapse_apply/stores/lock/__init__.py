"""The lock of a state: its lease, its owner, and when another process may take it over."""
