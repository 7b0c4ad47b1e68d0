"""Replay of records, redrive of dead letters, removal of sandboxes."""
