"""Reads what is live on a backend, and compares it; never writes."""
