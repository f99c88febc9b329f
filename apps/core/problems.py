"""Errors of the API as RFC 9457 problem documents, in one place."""

from __future__ import annotations

from typing import Any

import structlog
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response

from apps.core.errors import Denied, Invalid, StudioError

log = structlog.get_logger(__name__)
TYPE_PREFIX = "urn:kaizen:problem:"
_TITLES = {
    400: "Bad request",
    401: "Sign in first",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    409: "Conflict with the present state",
    413: "Too large",
    415: "Unsupported media type",
    422: "Invalid input",
    429: "Too many requests",
    500: "Something went wrong",
    503: "Not available right now",
}


def problem_body(status: int, code: str, detail: str, error: StudioError | None = None) -> dict[str, Any]:
    """The members of a problem document. `errors` lists the offending fields; `reasons` the trace of a denial."""
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + code,
        "title": error.title if error else _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
    }
    if isinstance(error, Invalid) and error.fields:
        body["errors"] = [{"field": name, "message": text} for name, texts in error.fields.items() for text in texts]
    if isinstance(error, Denied):
        body["action"] = error.decision.action
        body["reasons"] = [
            {"rule": reason.rule, "effect": reason.effect, "text": reason.text} for reason in error.decision.trace
        ]
    return body


def problem_response(status: int, code: str, detail: str, error: StudioError | None = None) -> Response:
    return Response(problem_body(status, code, detail, error), status=status, content_type="application/problem+json")


def problem_handler(exception: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: our errors, DRF's and Django's become one shape; anything else stays a 500."""
    if isinstance(exception, StudioError):
        return problem_response(exception.status, exception.code, exception.message, exception)
    if isinstance(exception, Http404):
        return problem_response(404, "not-found", "Not found.")
    if isinstance(exception, PermissionDenied):
        return problem_response(403, "denied", str(exception) or "Not allowed.")
    if isinstance(exception, RequestDataTooBig):
        return problem_response(413, "too-large", "The body is too large.")
    if isinstance(exception, exceptions.ValidationError):
        invalid = Invalid(fields=dict(_flatten(exception.detail)))
        return problem_response(invalid.status, invalid.code, invalid.message, invalid)
    if isinstance(exception, exceptions.APIException):
        return _from_drf(exception)
    return None


def _from_drf(exception: exceptions.APIException) -> Response:
    code = str(getattr(exception, "default_code", "error")).replace("_", "-")
    response = problem_response(exception.status_code, code, str(exception.detail))
    if header := getattr(exception, "auth_header", None):
        response["WWW-Authenticate"] = header
    if (wait := getattr(exception, "wait", None)) is not None:
        response["Retry-After"] = str(max(1, int(wait)))
    return response


def _flatten(detail: Any, path: str = "") -> list[tuple[str, list[str]]]:
    """DRF's nested error structure as `(path, messages)`, with paths such as `limits.timeout_s`."""
    if isinstance(detail, dict):
        return [found for key, value in detail.items() for found in _flatten(value, _under(path, str(key)))]
    if isinstance(detail, list) and any(isinstance(item, dict) for item in detail):
        return [found for index, item in enumerate(detail) for found in _flatten(item, f"{path}[{index}]")]
    return [(path, [str(item) for item in detail] if isinstance(detail, list) else [str(detail)])]


def _under(path: str, key: str) -> str:
    return path if key == "non_field_errors" else f"{path}.{key}".strip(".")
