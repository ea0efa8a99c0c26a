"""Plugin releases of the embedded backend: create with a package, read, list, download."""
