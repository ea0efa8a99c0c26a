"""Plugins of the embedded backend: create, read, update, run."""
