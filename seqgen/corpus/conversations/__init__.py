"""Conversations, read from files in any of the known formats."""
