"""What a plan does: pure functions of the declared, live and recorded resources."""
