"""What a training step minimises: one module an objective."""
