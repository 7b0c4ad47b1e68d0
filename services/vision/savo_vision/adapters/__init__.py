"""Adapters of vision: providers, model files, photos and the database."""
