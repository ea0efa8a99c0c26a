"""Renderings as JSON documents and JSON lines."""
