"""Organizations, their domains and schemas. Lives in the public schema only."""
