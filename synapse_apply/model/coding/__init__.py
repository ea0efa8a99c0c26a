"""JSON texts of the model's values, for states, saved plans and server answers."""
