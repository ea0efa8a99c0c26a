"""Values only, on the standard library alone and without I/O: the words every layer shares."""
