"""The controller's own memory: rows of `rows.py` in one SQLite file that one process writes."""
