"""HTTP: connections, deadlines, retries, bodies, redaction. requests and urllib3 belong here."""
