"""Data set versions and training plans."""
