"""The callers' command line: ``python -m gateway_service.cli``. It needs the standard library and nothing else."""
