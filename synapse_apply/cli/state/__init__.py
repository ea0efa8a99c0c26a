"""One module a command of `synapse-apply state`; each has a click command called `command`."""
