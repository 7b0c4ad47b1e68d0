"""Generation 1 of the app: no sign-in, and the forms of /training."""
