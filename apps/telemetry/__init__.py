"""Executions fetched from gateways, and the figures made of them."""
