"""One module a command of `synapse-apply agents`; each has a click command called `command`."""
