"""`savo topics` and `savo dlq`: topics, their records and dead letters."""
