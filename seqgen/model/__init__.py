"""Recurrent networks: cells, the recurrence over time, and the networks built of them."""
