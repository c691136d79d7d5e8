"""From logits to ids: filters, constraints, the draw and beam search."""
