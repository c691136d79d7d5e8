"""Training: batches, the plan for the time at hand, and the loop as a generator of events."""
