"""Sizes, rates and time chosen from corpus and budget: one module a task."""
