"""What the process does that leads: its rounds, and whom it has work on what is due."""
