"""Jobs as API v2 has them: known by UUID, reported on, stopped; never started."""
