"""A small dashboard of members and tokens, made of the generic pages only, for their tests and for looking at them."""
