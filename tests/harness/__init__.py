"""What stories need and are not about: organizations, clients, real gateway processes."""
