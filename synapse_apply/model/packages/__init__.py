"""What is known of packages apart from their bytes."""
