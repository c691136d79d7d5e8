"""Corpora: sources, the catalogue, what is held out, and the id cache."""
