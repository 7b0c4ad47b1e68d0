"""Publishing: the publisher, the transactional outbox and the inbox."""
