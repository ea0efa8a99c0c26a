"""What all resources of the embedded backend share: HTTP, authentication, store, switches."""
