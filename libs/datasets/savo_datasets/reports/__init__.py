"""Reports of data sets for people: pages and pictures."""
