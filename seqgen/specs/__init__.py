"""Tables of cells, tasks, tokenizers and filters: one row each, read by every floor."""
