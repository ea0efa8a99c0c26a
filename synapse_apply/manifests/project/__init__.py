"""The project file: targets, variables, policy, credentials."""
