"""`inspect`: what a unit, a gate or a gradient does along a text, a piece, a labelled text or a series."""
