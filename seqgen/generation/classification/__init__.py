"""Texts to label probabilities: numpy with compiled kernels, or PyTorch."""
