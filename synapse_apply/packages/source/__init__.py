"""Where a package's files come from: a folder, a Git commit, a zip."""
