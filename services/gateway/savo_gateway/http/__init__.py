"""Routes, schemas and error documents of the HTTP API."""
