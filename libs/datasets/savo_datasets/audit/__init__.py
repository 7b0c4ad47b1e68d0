"""Audit of labels: likely label errors, from what models detect that were not trained on the photo."""
