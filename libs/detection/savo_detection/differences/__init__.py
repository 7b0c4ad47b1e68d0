"""Differences between the boxes of two models on a photo: comparison, pictures and HTML."""
