"""Logging: one line per event on standard error, with UTC time. Never a prompt, an answer, a key or a token."""

from __future__ import annotations

import logging
import sys
import time

_FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s"
_LIBRARIES = ("uvicorn", "aiohttp", "mcp", "asyncio")


def configure_logging(level: str) -> None:
    """Set up logging before any library does: kailash calls `basicConfig` when it is imported."""
    formatter = logging.Formatter(_FORMAT, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[stream], force=True)
    logging.getLogger("gateway_service").setLevel(level.upper())
    for name in _LIBRARIES:
        # Their info and debug lines tell of requests, and some of contents.
        logging.getLogger(name).setLevel(logging.WARNING)
    # It warns of each malformed request, which is for any stranger to send, and as often as they like.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
