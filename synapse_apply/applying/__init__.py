"""Runs a plan through ports: one step at a time, each announced before and settled after."""
