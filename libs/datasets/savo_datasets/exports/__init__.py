"""Export of the collected samples as a tar in gzip members, and readers of such an archive."""
