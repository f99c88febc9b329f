"""Users, sign-in and API tokens: one set per tenant; operators live in the public schema."""
