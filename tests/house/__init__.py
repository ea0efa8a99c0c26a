"""Checks of the repository's own shape: totals that may not rise, proofs that a commit only renames or moves.

`words_only` and `rooms_only` compare two revisions; CONTRIBUTING.md says how to run them.
"""
