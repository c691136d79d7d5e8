"""Finite automata over bytes that constrain sampled text: regular expressions and banned strings."""
