"""What a target is looked at for: functions that yield a row for each thing looked at.

They change nothing, and none depends on another having gone well: what is missing is said.
"""
