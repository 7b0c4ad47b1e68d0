"""Time: clock, back-off, recurring work, waiting for dependencies."""
