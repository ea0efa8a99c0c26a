"""The command line: parses options, calls the library or an operation, prints the result."""
