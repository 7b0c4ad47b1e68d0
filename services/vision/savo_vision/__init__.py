"""The vision service: answers scans with the detector of their arm, and falls back to the provider."""
