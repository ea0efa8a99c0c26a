"""Faults that tests schedule."""
