"""Where a command runs.

The invocation, the project, and a target's backend, state and packages, each made at its first use.
"""
