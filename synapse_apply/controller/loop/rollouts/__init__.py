"""How rollouts bring a head to their targets: what `rules/rollouts/` decides is read and written.

`at_heads` begins them, `runs` writes what a run has shown, `rounds` opens and closes waves,
`actions` does what people ask, `messages` says what people are told.
"""
