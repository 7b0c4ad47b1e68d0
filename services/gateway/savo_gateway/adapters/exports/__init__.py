"""What exports read from the gateway's database."""
