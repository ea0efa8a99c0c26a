"""`synapse-apply storages`: a module a command."""
