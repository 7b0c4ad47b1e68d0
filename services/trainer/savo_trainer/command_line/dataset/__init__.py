"""`savo dataset`: a module for each of its commands."""
