"""Network sizes, learning rates and durations, chosen from corpus and budget."""
