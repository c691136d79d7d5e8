"""Music: pieces on a grid, MIDI files, the event vocabulary, and the grammar of legal events."""
