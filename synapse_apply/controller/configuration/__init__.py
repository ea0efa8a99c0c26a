"""controller.yaml: what it says, all that is wrong with it, and the secrets that it names."""
