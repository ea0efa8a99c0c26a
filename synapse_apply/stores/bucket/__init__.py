"""The state in a bucket of S3 or Azure: its URL, its client, and a test of the bucket."""
