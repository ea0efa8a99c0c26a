"""Opening files that are ours: whose they must be, and which way may lead to them."""
