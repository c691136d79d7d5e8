"""Training from Python: the run, its model folder and lock, and distributed training."""
