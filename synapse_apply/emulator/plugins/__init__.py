"""Plugins of the embedded backend: create, read, list, update."""
