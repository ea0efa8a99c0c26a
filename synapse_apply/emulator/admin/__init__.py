"""The doors of the embedded backend that no real backend has: outside edits, counts, switches."""
