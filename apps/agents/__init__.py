"""Agents: their drafts, immutable versions and differences, and what a version compiles to."""
