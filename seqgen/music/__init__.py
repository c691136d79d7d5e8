"""Music: pieces on a grid, MIDI bytes, the table of events that spell a piece, and the grammar that keeps it legal."""
