"""The start page: what runs where, what needs somebody, and what happened last."""
