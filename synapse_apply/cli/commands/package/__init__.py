"""The commands of the group `package`."""
