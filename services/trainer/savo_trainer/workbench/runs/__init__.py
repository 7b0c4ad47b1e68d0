"""`savo runs`: the training runs of a trainer that is running."""
