"""The only place that sees a secret's value outside a request body: resolving and keyed digests."""
