"""What drf-spectacular cannot derive: problem documents and the `Idempotency-Key` header."""

from __future__ import annotations

from typing import Any, Literal

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter

_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "action": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "reasons": {"type": "array", "items": {"type": "object"}},
    },
}
_ERRORS = {"401": "Not signed in", "403": "Not allowed", "404": "Not found", "422": "Invalid input", "429": "Too many"}
_ON_CHANGE = {"409": "Conflict with the present state"}


class Schema(AutoSchema):
    """The default schema of every view."""

    def get_override_parameters(self) -> list[Any]:
        parameters = list(super().get_override_parameters())
        if self.method == "POST":
            parameters.append(
                OpenApiParameter(
                    "Idempotency-Key",
                    str,
                    OpenApiParameter.HEADER,
                    description="Repeat the request with the same key and get the first answer again, for 24 hours.",
                )
            )
        return parameters

    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        for status, text in (_ERRORS | (_ON_CHANGE if self.method != "GET" else {})).items():
            content = {"application/problem+json": {"schema": _PROBLEM}}
            bodies.setdefault(status, {"description": text, "content": content})
        return bodies
