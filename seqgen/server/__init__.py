"""The HTTP server: OpenAI's API over models of every task."""
