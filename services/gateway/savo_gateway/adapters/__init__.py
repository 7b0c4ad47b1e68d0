"""Adapters of the gateway: its database, and clients of other services."""
