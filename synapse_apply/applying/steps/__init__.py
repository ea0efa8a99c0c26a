"""Creates: one object or two, their bodies, and the ways a refusal is answered."""
