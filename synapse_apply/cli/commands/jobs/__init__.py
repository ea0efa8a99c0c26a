"""The commands of the group `jobs`."""
