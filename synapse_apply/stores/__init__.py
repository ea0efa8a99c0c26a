"""One state of a target, wherever it is stored, as one class, `SqlStore`."""
