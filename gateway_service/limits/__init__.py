"""What a caller key may use: requests, tokens, executions at once, a budget; and a fair share of the gateway."""
