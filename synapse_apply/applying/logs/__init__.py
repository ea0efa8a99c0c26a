"""The log of a job, followed line by line."""
