"""Recurrent networks: cells, the recurrence over time, and the network around them."""
