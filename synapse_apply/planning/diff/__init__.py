"""How the declared, recorded and live sides of one object differ."""
