"""What single commands print of their results."""
