"""HTTP: connections, deadlines, retries, bodies, redaction. Home of requests and urllib3."""
