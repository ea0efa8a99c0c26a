"""Mirrors of the sources' repositories, and what a target reads of Git."""
