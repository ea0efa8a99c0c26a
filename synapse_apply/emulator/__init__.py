"""The embedded backend: a real HTTP server on loopback that answers as the Synapse API does."""
