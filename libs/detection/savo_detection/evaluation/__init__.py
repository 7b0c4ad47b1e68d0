"""Evaluation of a model: average precision and golden pictures."""
