"""Faults that tests schedule: which requests go wrong, and how."""
