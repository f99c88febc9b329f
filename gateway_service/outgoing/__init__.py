"""Calls that an agent makes out of the gateway: the one guarded client, and where it may go."""
