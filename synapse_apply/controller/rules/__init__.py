"""What the controller decides: pure functions of rows, settings and a given time."""
