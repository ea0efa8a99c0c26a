"""The embedded backend: an HTTP server on loopback that answers as the Synapse API does.

A program of its own: it imports nothing of the other folders.
"""
