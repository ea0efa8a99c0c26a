"""Which files hold manifests, in a folder or in a commit."""
