"""The `savo` command line."""
