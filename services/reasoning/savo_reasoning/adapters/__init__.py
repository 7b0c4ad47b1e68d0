"""Adapters of reasoning: recipe writers for each provider, and the store of their answers."""
