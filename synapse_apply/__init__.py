"""Plan and apply for a Synapse backend kept as YAML in Git."""
