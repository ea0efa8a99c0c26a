"""Agents of the embedded backend: health check and list."""
