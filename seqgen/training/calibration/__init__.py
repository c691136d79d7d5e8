"""Calibration after training: temperature correction and conformal prediction intervals."""
