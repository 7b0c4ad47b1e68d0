"""Adapters of label quality: corrections, doubtful photos and decisions in the database."""
