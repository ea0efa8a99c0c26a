"""What is live on one backend: read and compared, never written."""
