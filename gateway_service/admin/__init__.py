"""Studio's side of a gateway: what is placed on it, how it is, and what happened on it."""
