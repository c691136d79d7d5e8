"""Pictures of what was made and measured, as PNG bytes; matplotlib is imported only when one is drawn."""
