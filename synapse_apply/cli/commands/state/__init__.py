"""The commands of the group `state`."""
