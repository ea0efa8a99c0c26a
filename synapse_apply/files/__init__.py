"""Which files may be opened, which repository holds a checkout, how programs are started."""
