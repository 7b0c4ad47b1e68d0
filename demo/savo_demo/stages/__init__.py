"""Stages of the demo that wait for the product, and the display of their progress."""
