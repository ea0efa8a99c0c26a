"""Endpoints below /_emulator/ that no real backend has: outside edits, counters, switches."""
