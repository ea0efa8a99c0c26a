"""YAML texts: read with the position of every value, written, and edited in place.

Home of PyYAML.
"""
