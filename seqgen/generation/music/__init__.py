"""Pieces of music generated under the grammar of MIDI events."""
