"""What a controller of many targets costs, and what bounds it; docs/scale.md tells the numbers."""
