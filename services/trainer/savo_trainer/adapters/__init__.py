"""Adapters of the trainer: database, HTTP, and processes of the training program."""
