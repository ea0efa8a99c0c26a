"""A state as a chain of links in an object store."""
