"""A report as one self-contained page. Python writes all of it; its script only filters."""
