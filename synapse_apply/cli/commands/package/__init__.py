"""`synapse-apply package`."""
