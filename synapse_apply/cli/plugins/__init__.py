"""`synapse-apply plugins`: a module a command."""
