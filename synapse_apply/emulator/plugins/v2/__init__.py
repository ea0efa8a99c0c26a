"""Plugins as API v2 has them: a code that is theirs alone, and a first release from the start."""
