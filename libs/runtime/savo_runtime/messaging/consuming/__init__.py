"""Consuming: handlers, their retries, pauses, dead letters and commits, and snapshots of compacted topics."""
