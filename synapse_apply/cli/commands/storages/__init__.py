"""`synapse-apply storages`."""
