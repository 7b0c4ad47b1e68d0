"""Rebuild of a service's tables from its topics, and comparison with the live ones."""
