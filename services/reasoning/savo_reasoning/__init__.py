"""The reasoning service: recipes for confirmed ingredients."""
