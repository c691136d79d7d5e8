"""How well a model does on a corpus: one module a task."""
