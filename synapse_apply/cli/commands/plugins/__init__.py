"""`synapse-apply plugins`."""
