"""Follows Git and keeps targets in sync, through the library; shows one page."""
