"""`synapse-apply releases`."""
