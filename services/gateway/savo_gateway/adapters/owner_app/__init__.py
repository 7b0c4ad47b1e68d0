"""Adapters for the calls of the owner's app."""
