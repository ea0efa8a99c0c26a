"""Time, threads and memory, where several layers need the same."""
