"""A saved plan beside a fresh one: what is still true."""
