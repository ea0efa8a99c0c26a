"""Commands on the rollouts of a running controller."""
