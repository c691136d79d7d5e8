"""Calibration after training: temperature correction and conformal intervals."""
