"""Jobs on API v2: identified by UUID, reported on, stopped; never started there."""
