"""How much of a generated text or piece is copied from the training corpus."""
