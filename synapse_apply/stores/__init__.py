"""Where state is kept, behind one protocol."""
