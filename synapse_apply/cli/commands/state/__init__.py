"""`synapse-apply state`."""
