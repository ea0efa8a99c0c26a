"""Checks of the repository's own shape: proofs that a commit only renames or only moves.

`words_only` and `rooms_only` compare two revisions; CONTRIBUTING.md says how to run them.
"""
