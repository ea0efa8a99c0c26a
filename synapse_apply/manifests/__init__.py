"""Text to declared resources: reader, schemas, variables, overlays, project file, decoding."""
