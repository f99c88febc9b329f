"""One line for the beginning and one for the end of each request, without what must not be kept."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import structlog
from django_structlog.middlewares import RequestMiddleware

from apps.core.requests import client_address

if TYPE_CHECKING:
    from django.http import HttpRequest

# The key of a link that sets a password is as good as the password until it is used.
_KEY_OF_A_LINK = re.compile(r"(/password/reset/key/).+")


class RequestLog(RequestMiddleware):
    """django-structlog's middleware; of an address the path alone, and of a link with a key not all of that."""

    @classmethod
    def bind_ip(cls, request: HttpRequest) -> None:
        structlog.contextvars.bind_contextvars(ip=client_address(request))

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        path = _KEY_OF_A_LINK.sub(r"\1…", request.path)
        return f"{request.method} {path}"
