"""How secrets are resolved, digested and signed; no other code sees a value before it is sent."""
