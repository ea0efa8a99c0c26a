"""What a browser, a scraper, a program with a token or a forge's webhook gets of a controller."""
