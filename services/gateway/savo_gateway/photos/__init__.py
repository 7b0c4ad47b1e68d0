"""Uploaded photos: checked, freed of metadata, stored and read."""
