"""Who may do what: roles, object grants, and the one decision function."""
