"""The kill switch: what is stopped, how it reaches every gateway, and what each of them signed about it."""
