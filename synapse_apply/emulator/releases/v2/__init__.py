"""Plugin releases on API v2: uploaded with a package, locked for ever, deleted."""
