"""Notations of music other than MIDI: ABC and MusicXML, read into scores and written from pieces."""
