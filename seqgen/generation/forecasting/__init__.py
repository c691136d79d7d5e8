"""Forecasts from any row of a series, and their prediction intervals."""
