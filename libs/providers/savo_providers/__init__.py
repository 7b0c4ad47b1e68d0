"""What vision and reasoning share to call paid providers: prices, breaker, retries, deadlines, settings."""
