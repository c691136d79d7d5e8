"""Naive baselines that a model is measured against."""
