"""The trainer's `savo` commands: data sets, training, evaluation, models and runs."""
