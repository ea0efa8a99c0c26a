"""A client of a running controller's HTTP API."""
