"""`synapse-apply jobs`: a module a command."""
