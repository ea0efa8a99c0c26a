"""One module a command of `synapse-apply emulator`; each has a click command called `command`."""
