"""Training from Python: the run, its model folder and lock, and several processes that share it."""
