"""The gateway service: the HTTP API and the phone page, and the projections that they show."""
