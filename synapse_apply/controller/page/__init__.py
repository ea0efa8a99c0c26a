"""The page and the API, for browsers, scrapers, programs and forges."""
