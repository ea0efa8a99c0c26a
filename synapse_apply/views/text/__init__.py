"""Renderings for a terminal."""
