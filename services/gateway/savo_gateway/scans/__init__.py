"""Scans: accepted, published, completed, and waited for."""
