"""What the commands of `savo` share, wherever they live. Needs the extra `command-line`; no service imports it."""
