"""How good a model is, and how good its naive rivals are."""
