"""The collector service: turns confirmed scans into training samples."""
