"""Commit statuses at GitHub and GitLab: what is sent, what is read back, what answers mean."""
