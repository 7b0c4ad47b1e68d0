"""Object detection data sets: read in several formats, checked, grouped, split, audited, exported and written."""
