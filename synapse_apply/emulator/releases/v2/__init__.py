"""Plugin releases as API v2 has them: uploaded whole, locked for good, deleted."""
