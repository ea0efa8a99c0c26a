"""What servers say, in shapes that every layer shares."""
