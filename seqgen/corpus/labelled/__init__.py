"""Labelled texts for classification, read from tables, JSON, fastText lines and folders."""
