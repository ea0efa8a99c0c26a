"""Which files may be opened: our own below .synapse-apply, and those of a checkout."""
