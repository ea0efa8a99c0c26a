"""Child processes that look at targets: what each may read, how it is asked, when it is ended."""
