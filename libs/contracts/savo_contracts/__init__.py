"""Contracts between the services: events, topics, stored documents, and formulas of figures."""
