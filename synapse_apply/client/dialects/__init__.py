"""What differs on the wire between API versions: header forms, envelopes and the shape of lists."""
