"""Named corpora, and their download."""
