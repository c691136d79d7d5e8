"""Training: plans, batches, objectives, and the loop as a generator of events."""
