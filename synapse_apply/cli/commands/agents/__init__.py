"""`synapse-apply agents`."""
