"""The calls of the owner's app, by generation, over the same use cases as /v1."""
