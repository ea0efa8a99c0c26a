"""The sources of secrets: how `valueFrom` names each, what it may read, and how it is read."""
