"""Pure functions from declared, live and recorded to a plan."""
