"""What of a saved plan still holds, compared with a fresh plan."""
