"""Figures: statistics and progress towards the goals, as answers and as gauges."""
