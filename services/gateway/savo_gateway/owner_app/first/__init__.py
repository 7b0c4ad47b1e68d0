"""Generation 1 of the app: no sign-in, POST /inventory/scan and the forms of /training."""
