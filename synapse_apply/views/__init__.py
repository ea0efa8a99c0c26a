"""Renders plans, reports and states. `redaction.py` decides what any rendering may show."""
