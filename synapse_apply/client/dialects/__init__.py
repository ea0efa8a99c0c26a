"""What differs on the wire between API versions: header forms and the shape of lists."""
