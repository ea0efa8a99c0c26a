"""Options and arguments that several commands share, and what they make of what was typed."""
