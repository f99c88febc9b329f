"""The Kaizen gateway: a Nexus data plane that runs what Studio pushed to it and answers callers.

It never calls Studio, and holds no connection to Studio's database, cache or broker. Everything that is a decision was
made in Studio and arrived as data; see docs/gateway.md.
"""

VERSION = "0.1.0"
