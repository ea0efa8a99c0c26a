"""Child processes that plan and apply: what each may read, how it is asked, when it ends."""
