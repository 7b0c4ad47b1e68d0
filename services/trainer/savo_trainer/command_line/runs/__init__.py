"""`savo runs`: commands for the runs of a running trainer."""
