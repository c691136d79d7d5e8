"""Inference engines: ids and state in, logits and state out."""
