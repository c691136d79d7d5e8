"""Recurrent layers without PyTorch: compiled kernels, or numpy."""
