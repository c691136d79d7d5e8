"""Evaluators: one module per task."""
