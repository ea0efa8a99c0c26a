"""A state as a ref of a Git repository: the tree at its tip is the whole state."""
