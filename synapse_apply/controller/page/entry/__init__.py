"""Who is let in: who asks, what they may read, and whether a form was sent by its own page."""
