"""Jobs of the embedded backend: they run on a clock of their own and write logs."""
