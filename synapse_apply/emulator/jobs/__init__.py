"""Jobs of the embedded backend: simulated by time alone, with logs and reported status."""
