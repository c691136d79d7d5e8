"""The catalogue of named corpora and the downloads of it."""
