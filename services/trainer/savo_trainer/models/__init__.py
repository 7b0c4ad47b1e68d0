"""Models: evaluation, the quality gate, and the registry."""
