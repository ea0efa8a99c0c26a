"""The state in a bucket of S3 or Azure: its URL, its client, and whether the bucket will do."""
