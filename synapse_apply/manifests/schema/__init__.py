"""The JSON Schemas of documents, and why a document does not fit its schema."""
