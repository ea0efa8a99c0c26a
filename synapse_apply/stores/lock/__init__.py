"""The lock of a state: who holds it, for how long, and how it is taken over."""
