"""Pieces of music to be heard and read: audio, scores, pages, pictures."""
