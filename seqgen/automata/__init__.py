"""Finite automata over the bytes of a text: what may come next so that the whole is of a given form."""
