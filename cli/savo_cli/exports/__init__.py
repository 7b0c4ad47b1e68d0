"""`savo export`: the collected samples, and scans and confirmations, for others."""
