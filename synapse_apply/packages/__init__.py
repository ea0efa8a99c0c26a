"""Plugin packages: what belongs in one, its canonical digest and its reproducible zip."""
