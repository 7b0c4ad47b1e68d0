"""Adapters of the collector: its database, and photos and samples in the object store."""
