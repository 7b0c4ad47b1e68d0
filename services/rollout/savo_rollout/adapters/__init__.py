"""Adapters of the rollout: its database, its HTTP routes, and its projection for a rebuild."""
