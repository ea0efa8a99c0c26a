"""The commands of the group `emulator`."""
