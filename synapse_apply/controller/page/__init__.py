"""What a browser, a scraper or a forge's webhook gets of a controller; it writes nothing."""
