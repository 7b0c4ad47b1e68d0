"""`savo doctor`: checks, and figures of the running services that they need."""
