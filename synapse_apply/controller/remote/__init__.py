"""A running controller, as its HTTP API shows it and lets it be asked."""
