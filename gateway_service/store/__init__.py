"""What a gateway keeps on its own disk: what was placed on it, and what happened on it."""
