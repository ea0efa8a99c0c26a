"""Storages of the embedded backend: create, read, list, open a session."""
