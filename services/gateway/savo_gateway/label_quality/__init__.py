"""Label quality: what people correct, doubtful photos, and engineers' decisions on them."""
