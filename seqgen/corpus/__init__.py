"""Corpora: sources, the catalogue, readers of each kind of data, splits, and ids on disk."""
