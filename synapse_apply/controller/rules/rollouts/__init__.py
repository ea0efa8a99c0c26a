"""How a rollout brings a revision to its targets wave by wave: pure functions of rows and a time.

`assignment` says which wave a target belongs to, `beginning` what a head makes of a rollout,
`moving` which targets get their revision now, `evidence` what a run shows, `advancing` when a wave
opens and closes, `asking` what people change, and `words` what people read.
"""
