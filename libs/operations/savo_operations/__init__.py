"""Tools for operators: replay, redrive, rebuild, backup and restore, lag, partitions. Only the CLI imports them."""
