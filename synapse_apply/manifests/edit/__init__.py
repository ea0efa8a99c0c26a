"""Where a declared value is written, and how files are changed."""
