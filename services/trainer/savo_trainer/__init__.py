"""The trainer service: training runs, the model registry, and the commands for data sets and models."""
