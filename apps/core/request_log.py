"""One line for the beginning and one for the end of each request, without what must not be kept."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from django_structlog.middlewares import RequestMiddleware

if TYPE_CHECKING:
    from django.http import HttpRequest

# The key of a link that sets a password is as good as the password until it is used.
_KEY_OF_A_LINK = re.compile(r"(/password/reset/key/).+")


class RequestLog(RequestMiddleware):
    """django-structlog's middleware; of an address the path alone, and of a link with a key not all of that."""

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        path = _KEY_OF_A_LINK.sub(r"\1…", request.path)
        return f"{request.method} {path}"
