"""Data set versions: their manifests, written once."""
