"""`synapse-apply emulator`."""
