"""The commands of the group `agents`."""
