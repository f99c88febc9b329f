"""The tools of agents: HTTP requests, MCP servers, and other registrations of this gateway."""
