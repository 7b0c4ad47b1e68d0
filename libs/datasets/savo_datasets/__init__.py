"""Data sets as people have them: read, checked, grouped, split, written."""
