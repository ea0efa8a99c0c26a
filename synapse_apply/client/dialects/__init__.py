"""What differs between API versions on the wire: credential headers, envelopes, list pages."""
