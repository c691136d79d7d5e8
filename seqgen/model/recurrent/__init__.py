"""Recurrent cells, the loops that run them over time, and stacks of layers."""
