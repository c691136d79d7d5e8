"""What trained networks remember: units and gates along a sequence, gradients through time, what units mean."""
