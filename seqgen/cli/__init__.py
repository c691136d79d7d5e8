"""The commands: each parses, calls a plain function, and writes. The only floor that prints."""
