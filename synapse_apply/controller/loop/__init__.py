"""The driver: carries out what `rules/` decides, with threads around the ports and the store."""
