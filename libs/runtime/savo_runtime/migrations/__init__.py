"""Alembic history of the tables that every service has: the outbox and the inbox. `env.py` serves all histories."""
