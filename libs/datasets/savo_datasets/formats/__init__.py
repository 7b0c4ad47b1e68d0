"""Formats of labelled data sets: readers that yield samples, and writers that take them."""
