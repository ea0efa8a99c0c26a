"""One module per command of `synapse-apply`; each has a click command called `command`."""
