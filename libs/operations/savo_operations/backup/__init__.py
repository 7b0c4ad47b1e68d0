"""Backup and restore of databases, objects and consumer offsets."""
