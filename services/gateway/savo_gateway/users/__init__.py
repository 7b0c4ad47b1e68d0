"""Users: their consent to training."""
