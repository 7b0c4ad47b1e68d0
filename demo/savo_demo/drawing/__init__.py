"""Generated photos of kitchens with their true boxes."""
