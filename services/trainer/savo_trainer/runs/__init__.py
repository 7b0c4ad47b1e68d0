"""Training runs: their states, the stages of the work, and the worker."""
