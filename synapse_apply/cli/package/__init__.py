"""The commands of `synapse-apply package`, one module each."""
