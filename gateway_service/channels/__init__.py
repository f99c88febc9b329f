"""How callers come in: the API, the OpenAI-compatible endpoint, MCP, and the command line through the API."""
