"""Plugin packages: which files belong in one, its canonical digest and its reproducible zip."""
