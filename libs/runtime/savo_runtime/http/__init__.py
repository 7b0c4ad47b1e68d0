"""HTTP of the services: the server, problem responses, addresses of other services."""
