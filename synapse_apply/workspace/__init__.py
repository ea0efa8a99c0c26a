"""Where a command runs: project, target, backend, state, packages, journal."""
