"""Checks of the repository's own shape: totals that may not rise, and what tests notice of small changes."""
