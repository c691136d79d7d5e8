"""Metrics of every task, and naive baselines."""
