"""`synapse-apply jobs`."""
