"""What every resource of the embedded backend shares: the wire, the store, the switches."""
