"""Calls of a plan that the server checks and does not act on."""
