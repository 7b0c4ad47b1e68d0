"""Shared parts of the `savo` commands in all packages. Needs the extra `command-line`; no service imports it."""
