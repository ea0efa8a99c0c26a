"""Parts of commands that take more than one call of an operation: questions, progress, reports."""
