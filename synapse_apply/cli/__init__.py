"""The command line: reads what the user typed, calls one use case, prints what it gives back."""
