"""Commands for scans: send, confirm, trace and count them."""
