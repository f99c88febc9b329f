"""The log: append-only, hash-chained events."""
