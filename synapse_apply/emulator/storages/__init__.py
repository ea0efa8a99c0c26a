"""Storages of the embedded backend: create, read, list, session."""
