"""Tables that every service has: the outbox and the inbox. The environment is used by the services' histories too."""
