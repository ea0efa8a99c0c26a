"""`synapse-apply releases`: a module a command."""
