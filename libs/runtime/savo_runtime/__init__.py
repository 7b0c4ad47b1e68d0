"""Shared platform of the Savo services: messaging, database, object store, HTTP, settings and telemetry."""
