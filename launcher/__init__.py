"""The machinery behind `make up`, `make test` and their relatives.

Runs on the system's Python with the standard library alone until the environments exist. From then on every
long-lived process belongs to supervisord (the `supervisor` package in Studio's environment); this package writes its
configuration, starts programs in order, waits for each by a real check, and stops them again.
"""
