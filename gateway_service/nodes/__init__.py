"""The node types of the contract's catalogue, implemented.

The modules `kaizen_agent` and `graph` import kailash, which takes a while; the runtime imports them late.
"""
