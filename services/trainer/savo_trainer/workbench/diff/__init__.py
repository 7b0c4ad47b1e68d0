"""`savo models diff`: two models on the same photos. Photos in, figures and what changed photo by photo out; no Kafka, no SQL."""
