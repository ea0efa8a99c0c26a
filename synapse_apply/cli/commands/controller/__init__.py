"""The commands of `controller`: what follows Git all the time, and what is asked of it."""
