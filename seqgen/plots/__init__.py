"""Plots as PNG bytes: music, forecasts, features and confusion matrices. Only drawing imports matplotlib."""
