"""Object store: the port, its folder and S3 adapters, and documents that several services share."""
