"""Mirrors of the sources' repositories, where they lie, and what of Git a target is read from."""
