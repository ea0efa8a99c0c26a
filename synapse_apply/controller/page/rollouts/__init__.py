"""Rollouts on the page and in the API: which revision is where, and what people say of it."""
