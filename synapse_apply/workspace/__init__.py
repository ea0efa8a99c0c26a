"""Where a command works: invocation, project, a target's backend, state, packages and journals."""
