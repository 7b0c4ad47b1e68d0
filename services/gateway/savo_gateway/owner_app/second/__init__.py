"""Generation 2 of the app: signed in, POST and GET /api/scanning/…."""
