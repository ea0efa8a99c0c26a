"""The sources of a package's files: a folder, a Git commit, a zip."""
