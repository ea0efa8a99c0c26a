"""Plugins on API v2: with a unique code, and a first release from the start."""
